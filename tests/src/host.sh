# The keeper of a host: boots a copy of an image with systemd as the first process of namespaces of its own,
# says "up PID GROUP" (as the machine counts and calls them), and lives for as long as its standard input stays
# open. When it ends, or is killed, the kernel ends everything in the host; nothing of the copy is on a disk.
#
# HOST_NAME is its name, HOST_IMAGE the folder of its system, HOST_BINARY the binary under test.
set -eu

# systemd wants a cgroup v2 hierarchy of its own: it gets a control group of ours, seen through a namespace.
for hierarchy in /sys/fs/cgroup/unified /sys/fs/cgroup; do
    [ "$(stat -f -c %T "$hierarchy" 2>/dev/null)" = cgroup2fs ] && break
done
ours=$hierarchy$(sed -n 's/^0:://p' /proc/self/cgroup)
group=$hierarchy/secmon-host-$$
mkdir "$group"

# Takes the groups away once the kernel has ended the last process in them: from the leaves up, for ten seconds.
sweep='for _ in {1..200}; do
    find "$1" -depth -type d -exec rmdir {} + 2>/dev/null
    [ -d "$1" ] || break
    sleep 0.05
done'

clean() {
    trap - EXIT
    # To be ended twice, or to have nobody left who reads, is no reason to leave anything behind.
    trap '' TERM INT PIPE
    kill -KILL "$unshare" 2>/dev/null || true
    # In a session of its own: whoever is in a hurry kills the group of this one.
    setsid bash -c "$sweep" sweep "$group" </dev/null >/dev/null 2>&1 &
    exit 0
}

boot() {
    # As the machine's /proc counts; `up` needs it.
    read -r pid _ </proc/self/stat
    echo "born $pid"
    read -r _
    exec </dev/null

    # A copy of the image whose changes live in memory and end with this namespace.
    root=/mnt
    mount -t tmpfs -o mode=755,size=1g tmpfs $root
    mkdir $root/upper $root/work $root/host
    mount -t overlay -o "lowerdir=$HOST_IMAGE,upperdir=$root/upper,workdir=$root/work" overlay $root/host
    root=$root/host
    echo "$HOST_NAME" >$root/etc/hostname
    echo "127.0.0.1 localhost $HOST_NAME" >$root/etc/hosts
    : >$root/usr/local/bin/secmon
    mount --bind "$HOST_BINARY" $root/usr/local/bin/secmon

    mount -t proc -o nosuid,nodev,noexec proc $root/proc
    # What belongs to the whole machine can be read and not set.
    for shared in sys sysrq-trigger; do
        [ -e $root/proc/$shared ] || continue
        mount --bind $root/proc/$shared $root/proc/$shared
        mount -o remount,bind,ro $root/proc/$shared
    done
    mount -t sysfs -o ro,nosuid,nodev,noexec sysfs $root/sys
    mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
    mount -t tmpfs -o mode=755 tmpfs $root/dev
    for device in null zero full random urandom tty; do
        : >$root/dev/$device
        mount --bind /dev/$device $root/dev/$device
    done
    mkdir $root/dev/pts $root/dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts $root/dev/pts
    ln -s pts/ptmx $root/dev/ptmx
    ln -s /proc/self/fd $root/dev/fd
    ln -s fd/0 $root/dev/stdin
    ln -s fd/1 $root/dev/stdout
    ln -s fd/2 $root/dev/stderr
    mount -t tmpfs -o mode=755,nosuid,nodev tmpfs $root/run
    mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs $root/tmp

    cd $root
    mkdir -p .old
    pivot_root . .old
    umount -l /.old
    rmdir /.old
    # Neither the clock nor the modules of the machine are a host's.
    exec env -i container=secmon PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio /sbin/init >/dev/null 2>&1
}
export -f boot

coproc HOST {
    echo $BASHPID >"$group/cgroup.procs"
    exec unshare --mount --propagation private --pid --uts --ipc --cgroup --net --fork --kill-child \
        bash -euc boot
}
unshare=$HOST_PID
trap clean EXIT TERM INT
read -r _ pid <&"${HOST[0]}"
# A group with a process of its own cannot hand controllers to its children: only the host stays in it.
echo "$unshare" >"$ours/cgroup.procs"
echo go >&"${HOST[1]}"
echo "up $pid $group"
while read -r _; do :; done
