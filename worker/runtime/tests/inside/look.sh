# What a container sees of itself, in lines that are the same for equal confinement: run by the tests in our containers
# and in the engine's. busybox alone; what differs from container to container is written as @own.
own=$(sed -n 's|.*/\([^/]*\)$|\1|p' /proc/self/cgroup | grep -E '.{8}' | head -n 1)
plain() { if [ -n "$own" ]; then sed -E "s|/[^ ]*$own|/@own|g"; else cat; fi; }

echo "# mounts: point, root, options, type, options of the file system"
while read -r _ _ _ root point options rest; do
    rest=" $rest"; kind=${rest##* - }; kind=${kind%% *}; super=${rest##* }
    case $kind in
        overlay) root=/ super=${super%%,*} ;;
        cgroup | cgroup2 | proc | sysfs | mqueue | devpts) ;;
        tmpfs) super=$(echo "$super" | sed 's/,inode64//') ;;
        *) kind=disk super=- root=@host ;;
    esac
    point=$(echo "$point" | sed 's/[0-9a-f]\{64\}/@id/')
    echo "mount $point $root $options $kind $super"
done </proc/self/mountinfo | plain | sort

echo "# of the process"
grep -E '^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp|SigBlk):' /proc/1/status | tr '\t' ' ' | sed 's/ *$//'
# Those that only libraries use are as whoever started the engine left them.
for set in SigIgn SigCgt; do echo "$set $(($(sed -n "s/^$set:\t/0x/p" /proc/1/status) & 0x7fffffff))"; done
echo "umask $(umask)"
echo "cwd $(pwd)"
echo "oom_score_adj $(cat /proc/1/oom_score_adj)"
echo "groups $(id -G)"
env | sed -E 's/^HOSTNAME=.{12}$/HOSTNAME=@id/' | grep -v '^HOST_NS=\|^SHLVL=\|^PWD=\|^OLDPWD=' | sort
for file in /proc/1/fd/*; do
    [ -z "$(readlink "$file")" ] || echo "fd ${file##*/} $(readlink "$file" | sed 's/\[.*//') $(stat -L -c '%u:%g %a' "$file" 2>/dev/null)"
done | grep -v '/look.sh'
sed 's/[^:]*:/cgroup /' /proc/self/cgroup | plain | sort
for kind in pid mnt uts ipc net cgroup user; do
    [ -z "$HOST_NS" ] || { echo "$HOST_NS" | grep -qF "$(readlink /proc/self/ns/$kind)" && echo "namespace $kind is the host's" || echo "namespace $kind is its own"; }
done
echo "limits"; cut -c 1-65 /proc/1/limits | grep -v 'Limit\|pending\|processes' | sed 's/ *$//'

echo "# devices"
find /dev -mindepth 1 ! -path '/dev/pts/[0-9]*' -exec stat -c '%n %A %u:%g %t:%T' {} \; | sort
for link in $(find /dev -type l | sort); do echo "$link -> $(readlink "$link")"; done
for device in "b 8 0" "b 253 0" "c 1 1" "c 1 4" "c 1 11" "c 10 200" "c 10 229" "c 4 0" "c 1 3" "c 1 5" "c 5 2" "c 136 0"; do
    node=/tmp/node; rm -f $node
    if ! mknod $node $device 2>/dev/null; then echo "node $device: not made"; continue; fi
    if { true <$node; } 2>&1 | grep -q 'not permitted'; then echo "node $device: not opened"; else echo "node $device: opened or absent"; fi
done

echo "# the files of the kernel"
for path in /proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi \
    /proc/timer_list /proc/timer_stats /proc/kallsyms /proc/kmsg /proc/modules /proc/sys/kernel/core_pattern \
    /sys/devices/virtual/powercap /sys/firmware /sys/kernel/debug /sys/kernel/security /sys/fs/bpf; do
    if [ ! -e $path ]; then how=absent
    elif [ -d $path ]; then how="directory of $([ -n "$(ls -A $path 2>/dev/null)" ] && echo something || echo nothing)"
    elif head -c 1 $path 2>/dev/null | grep -q .; then how=readable
    else how=empty; fi
    echo "read $path $how"
done
for path in /proc/sys/kernel/sysrq /proc/sys/net/ipv4/ip_forward /proc/sys/vm/drop_caches /proc/sysrq-trigger /proc/irq/default_smp_affinity \
    /proc/bus /proc/fs /sys/kernel/uevent_helper /sys/kernel/mm/ksm/run /sys/class/net/lo/mtu /proc/1/oom_score_adj /proc/1/attr/exec; do
    if [ ! -e $path ]; then how=absent
    elif [ -d $path ]; then mkdir $path/x 2>/dev/null && how=written || how=refused
    elif { true >>$path; } 2>/dev/null; then how="can be opened for writing"
    else how=refused; fi
    echo "write $path $how"
done
for name in net.ipv4.ip_unprivileged_port_start net.ipv4.ping_group_range net.ipv4.ip_forward kernel.shmmax kernel.msgmax; do
    echo "sysctl $name $(sysctl -n $name 2>&1 | tr '\t' ' ')"
done
echo "interfaces" $(ls /sys/class/net)

echo "# its cgroups"
ls -A /sys/fs/cgroup | sort | sed 's/^/hierarchy /'
for dir in /sys/fs/cgroup /sys/fs/cgroup/*; do
    [ -d "$dir" ] && [ ! -h "$dir" ] || continue
    if mkdir $dir/mine 2>/dev/null; then echo "made a group in $dir"; rmdir $dir/mine; fi
    for file in cgroup.procs tasks release_agent notify_on_release cpu.cfs_quota_us memory.limit_in_bytes pids.max devices.allow cpuset.cpus freezer.state \
        cgroup.subtree_control cgroup.kill cgroup.freeze cpu.max memory.max; do
        [ -e $dir/$file ] || continue
        { true >>$dir/$file; } 2>/dev/null && echo "$dir/$file can be written" || echo "$dir/$file is read-only"
    done
done

echo "# system calls"
try() { name=$1; shift; "$@" >/dev/null 2>&1 && echo "$name done" || echo "$name refused"; }
try mount mount -t tmpfs none /mnt
try umount umount /proc
try remount mount -o remount,rw /sys
try unshare-mount unshare -m true
try unshare-user unshare -U true
try chroot chroot / true
try sethostname hostname mine
try chown sh -c 'touch /tmp/c && chown 7:7 /tmp/c'
try setuid sh -c 'su -s /bin/true nobody || true'
try interface-down ip link set lo down
try raw-socket ping -c 1 -W 1 127.0.0.1
try nice-up nice -n -5 true
try pivot pivot_root / /tmp
try insmod insmod /nothing
try swapon swapon /tmp/c
try dmesg dmesg
