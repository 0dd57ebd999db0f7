# Installs PostgreSQL's programs, libpq and PgBouncer on Debian and Ubuntu. Runs as root, under `sh -eu`.
# Argument: `--quiet` when the output goes to a log.
#
# Debian's package makes and starts a server of its own, on port 5432 and at every boot. Nobody asked
# for that, so it is told not to, by a drop-in file that exists during the installation only: what the
# machine's owner installs later is their own affair, and a server that already runs is not touched.
# PgBouncer's package starts a service likewise; where it wasn't there before, that is stopped for good.

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
had_pgbouncer=$(command -v pgbouncer || :)
apt-get install --yes --no-install-recommends --no-upgrade "$@" postgresql libpq-dev pgbouncer
if [ -z "$had_pgbouncer" ]; then
  if [ -d /run/systemd/system ]; then
    systemctl disable --now pgbouncer
  else
    service pgbouncer stop || :
    update-rc.d pgbouncer disable
  fi
fi
