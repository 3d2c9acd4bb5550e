# Runs a program with an opencryptoki of its own: sh private.sh DIRECTORY LABEL SO-PIN PIN PROGRAM [ARGUMENT...]
# in new mount and IPC namespaces, because opencryptoki's paths and its shared memory cannot be configured. The token's
# files are in DIRECTORY, so that they are there again the next time. pkcsslotd ends with the program.
set -eu
directory=$1 label=$2 so_pin=$3 pin=$4
shift 4

mkdir -p "$directory/token/swtok/TOK_OBJ"
# The daemon wants the group pkcs11. In a user namespace there is none but our own.
sed '/^pkcs11:/d' /etc/group >"$directory/group"
echo "pkcs11:x:$(id -g):" >>"$directory/group"
# Only the soft token: the others want hardware or libraries that are not there.
printf 'version opencryptoki-3.1\nslot 0\n{\nstdll = libpkcs11_sw.so\n}\n' >"$directory/opencryptoki.conf"

for place in /run /var/log /dev/shm; do
	mount -t tmpfs tmpfs $place
done
mkdir -p /run/lock/opencryptoki/swtok /var/log/opencryptoki
mount --bind "$directory/token" /var/lib/opencryptoki
mount --bind "$directory/group" /etc/group
mount --bind "$directory/opencryptoki.conf" /etc/opencryptoki/opencryptoki.conf

setpriv --pdeathsig KILL pkcsslotd -f </dev/null >"$directory/pkcsslotd.log" 2>&1 &
tries=0
until pkcsconf -t -c 0 >"$directory/pkcsconf.log" 2>&1; do
	tries=$((tries + 1))
	if [ $tries -gt 200 ]; then
		echo "opencryptoki does not start:" >&2
		cat "$directory/pkcsslotd.log" "$directory/pkcsconf.log" >&2
		exit 1
	fi
	sleep 0.1
done
if ! grep -q TOKEN_INITIALIZED "$directory/pkcsconf.log"; then
	# A fresh token has the SO PIN 87654321, and takes no other command before that is changed. A user's PIN that the
	# SO has set must be changed as well.
	{
		printf '87654321\n%s\n' "$label" | pkcsconf -I -c 0
		printf '87654321\n%s\n%s\n' "$so_pin" "$so_pin" | pkcsconf -P -c 0
		printf '%s\n87654321\n87654321\n' "$so_pin" | pkcsconf -u -c 0
		printf '87654321\n%s\n%s\n' "$pin" "$pin" | pkcsconf -p -c 0
	} >"$directory/pkcsconf.log" 2>&1
fi
exec "$@"
