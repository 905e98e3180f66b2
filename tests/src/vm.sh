#!/bin/busybox sh
# The first and only program that the kernel of a virtual machine starts: makes a small machine, then runs what the
# test sends over a virtio port, one script at a time, until the test hangs up.
#
# A request is "ID BASE64\n", with a shell script; its answer "ID STATUS BASE64\n", with what that printed.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /run /tmp /var /root
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /run/netns /run/lock
ln -s /run /var/run
export PATH=/bin HOME=/root

# All but WireGuard, which the test loads when it wants it: `load_wireguard`.
rest=
for module in /modules/*.ko; do
    if [ -n "$rest" ]; then
        rest="$rest $module"
        continue
    fi
    insmod "$module"
    case $module in *-veth.ko) rest=" " ;; esac
done
cat >/bin/load_wireguard <<END
#!/bin/sh
for module in $rest; do insmod \$module || exit 1; done
END
chmod +x /bin/load_wireguard
ip link set lo up

until [ -e /dev/vport0p1 ]; do sleep 0.1; done
exec 3<>/dev/vport0p1
echo ready >&3
while read -r id script <&3; do
    echo "$script" | base64 -d >/tmp/script
    sh /tmp/script >/tmp/output 2>&1 </dev/null 3>&-
    status=$?
    { printf '%s %s ' "$id" "$status" && base64 -w 0 /tmp/output && echo; } >&3
done
poweroff -f
