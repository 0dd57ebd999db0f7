# Installs PostgreSQL's programs and libpq on Debian and Ubuntu. Runs as root, under `sh -eu`.
# Argument: `--quiet` when the output goes to a log.
#
# Debian's package makes and starts a server of its own, on port 5432 and at every boot. Nobody asked
# for that, so it is told not to, by a drop-in file that exists during the installation only: what the
# machine's owner installs later is their own affair, and a server that already runs is not touched.

export DEBIAN_FRONTEND=noninteractive

folder=/etc/postgresql-common/createcluster.d
drop_in=$folder/zz-txsafe-setup.conf
clean_up() {
  rm -f "$drop_in"
  rmdir "$folder" "${folder%/*}" 2>/dev/null || : # kept unless empty
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

mkdir -p "$folder"
echo 'create_main_cluster = false' >"$drop_in"

apt-get update "$@"
apt-get install --yes --no-install-recommends "$@" postgresql libpq-dev
