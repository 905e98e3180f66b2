# The first process of a realm: makes a small machine of its own out of namespaces, then lives for as long
# as its standard input stays open. When it ends, the kernel ends everything in the realm.
set -e

mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/sshd /run/bin
mount -t tmpfs -o mode=755 tmpfs /var/log

# The binary under test where every user of the realm may run it, whatever folder it was built in.
if [ -n "$REALM_BINARY" ]; then
    : >/run/bin/secmon
    mount --bind "$REALM_BINARY" /run/bin/secmon
fi

# A /dev of its own, for a /dev/log and terminals that no other realm shares.
mkdir /run/dev
mount -t tmpfs -o mode=755 tmpfs /run/dev
for device in null zero full random urandom tty net/tun; do
    [ -e "/dev/$device" ] || continue
    mkdir -p "$(dirname "/run/dev/$device")"
    : >"/run/dev/$device"
    mount --bind "/dev/$device" "/run/dev/$device"
done
mkdir /run/dev/pts /run/dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts /run/dev/pts
ln -s pts/ptmx /run/dev/ptmx
ln -s /proc/self/fd /run/dev/fd
ln -s fd/0 /run/dev/stdin
ln -s fd/1 /run/dev/stdout
ln -s fd/2 /run/dev/stderr
mount --move /run/dev /dev
rmdir /run/dev

# journald wants to know the control group of who writes to it, even where nobody has set any up.
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup || true

ip link set lo up
echo "$REALM_NAME" >/proc/sys/kernel/hostname
echo ready
# bash reaps the orphans that a first process inherits.
while read -r _; do :; done
