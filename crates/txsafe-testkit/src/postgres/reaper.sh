# The reaper of one throw-away server: makes the server's folder, and, once its owner is gone, stops
# the server and removes the folder. Arguments: the places where the folder may be, best first.
#
# The owner holds the only write end of our standard input, so even an owner that was killed with
# SIGKILL tells us, by end of file. Everything the owner starts for the server joins our process
# group: we never need a process id that somebody else may have been given meanwhile.

# What ends the owner must not end us: Ctrl-C, a closed terminal, our own SIGQUIT below.
trap '' HUP INT QUIT TERM PIPE
umask 077

for place in "$@"; do
  if home=$(mktemp -d "$place/txsafe-XXXXXX" 2>/dev/null); then break; fi
  home=
done
[ -n "$home" ] || exit 1

printf '%s\n' "$home"
exec >/dev/null 2>&1
cd /

while read -r _; do :; done

# SIGQUIT asks the server for an immediate shutdown, and initdb to give up.
kill -QUIT 0

# 10 s, twice what the server grants its own backends before it kills them.
rounds=200
postmaster=$(head -n 1 "$home/data/postmaster.pid")
while [ "$rounds" -gt 0 ] && [ -e "$home/data/postmaster.pid" ] && kill -0 "$postmaster"; do
  rounds=$((rounds - 1))
  sleep 0.05
done

# A process that is about to end may still write a file while we remove its folder.
rounds=20
until rm -rf "$home"; do
  rounds=$((rounds - 1))
  [ "$rounds" -gt 0 ] || break
  sleep 0.05
done

# Whoever ignored SIGQUIT ends now, and so do we: the group has no other purpose.
kill -KILL 0
