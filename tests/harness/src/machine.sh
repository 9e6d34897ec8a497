#!/usr/bin/env bash
# machine.sh watch NAME ROOT INIT UPPER [HOSTPATH:INSIDE[:ro]...] : one test machine, alive as long
# as this script's standard input is open. The owner, which is the test program, calls it in a mount
# namespace of its own. INIT is systemd or idle. UPPER is the directory that takes the machine's
# writes, or - for memory, or keep:DIRECTORY for a directory that stays for the next machine. Prints
# one line, "PID CGROUP": the machine's PID 1 as the host sees it, and its control group's path in
# this script's mount namespace. Knows nothing of tests.
set -eu

# The part inside the new namespaces: puts the root together and becomes its PID 1.
# ROOT itself is never written: its /mnt (any directory would do) is where our private mounts stand.
init() {
    local name=$1 root=$2 init=$3 upper=$4 cgroup=$5 bind host inside options pid
    shift 5
    # /proc is still the host's, so this is the PID that the host knows.
    read -r pid _ </proc/self/stat
    echo "$name" >/proc/sys/kernel/hostname

    mount -t tmpfs -o mode=755 tmpfs "$root/mnt"
    mkdir "$root/mnt/root"
    [ "$upper" != - ] || upper=$root/mnt
    upper=${upper#keep:}
    mkdir -p "$upper/upper" "$upper/work"
    cd "$root/mnt/root"
    mount -t overlay -o "lowerdir=$root,upperdir=$upper/upper,workdir=$upper/work" overlay . || cp -ax "$root/." .
    cd "$root/mnt/root" # into what is mounted there now

    mount -t proc -o nosuid,nodev,noexec proc proc
    mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
    mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=755,nosuid tmpfs dev
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
    mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    # Not bound, as on a real machine: systemd unmounts each mount below /dev for each job with a /dev of its own.
    cp -a /dev/{null,zero,full,random,urandom,tty} dev
    mount -t tmpfs -o mode=755,nosuid,nodev tmpfs run
    # A container of the machine's own may mount proc and sysfs only if they are visible in full
    # somewhere (systemd-nspawn does the same, at the same place).
    mkdir -p run/host/proc run/host/sys run/host/old
    mount -t proc proc run/host/proc
    mount -t sysfs sysfs run/host/sys
    # Settings of the kernel are the host's.
    mount --bind -o ro proc/sys proc/sys
    for bind; do
        IFS=: read -r host inside options <<<"$bind"
        mkdir -p ".$inside"
        if [ -z "$options" ]; then
            mount --rbind "$host" ".$inside"
        else
            mount --bind -o "$options" "$host" ".$inside"
        fi
    done
    tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
    echo "$name" >etc/hostname
    # A boot takes a quarter less without these: generators find nothing here, and no test looks at device nodes and logins.
    rm -rf usr/lib/systemd/system-generators \
        usr/lib/systemd/system/*.wants/systemd-{tmpfiles-setup-dev,tmpfiles-setup-dev-early,update-utmp,update-utmp-runlevel}.service

    pivot_root . run/host/old
    PATH=/usr/sbin:/usr/bin:/sbin:/bin
    umount -l /run/host/old
    rmdir /run/host/old
    # As on a booted machine and in systemd-nspawn: a unit's credentials are mounted beside the unit, and reach it only so.
    mount --make-rshared /
    case $init in
    systemd) set -- /lib/systemd/systemd --log-level=notice --show-status=0 ;;
    idle)
        ip link set lo up # systemd does that by itself
        set -- bash -c 'while :; do sleep infinity & wait; done'
        ;;
    esac
    echo "$pid $cgroup"
    exec env -i container=nixactions-test PATH="$PATH" "$@" >&2
}

# Takes the machine down with all that runs in it, whoever started it there, and its control group with it.
clean_up() {
    set +e
    local pid1= try
    # PID 1 first, so that unshare, its parent, can reap it. Then the commands that the owner had
    # just sent into the machine.
    read -r pid1 <"/proc/$machine/task/$machine/children"
    kill -KILL $pid1 && wait "$machine"
    { echo 1 >"$cgroup/cgroup.kill"; } 2>/dev/null || kill -KILL "$machine"
    for ((try = 0; try < 1000; try++)); do
        [ -d "$cgroup" ] && ! find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || break
        sleep 0.01
    done
    case $upper in - | keep:*) ;; *) rm -rf "$upper" ;; esac
}

watch() {
    local mount
    # An existing mount is used as it is: mounting anew from the initial cgroup namespace would change its options for the whole host.
    mount=$(findmnt --noheadings --first-only --types cgroup2 --output TARGET) || {
        mount=$2/mnt
        mount -t cgroup2 cgroup2 "$mount"
    }
    cgroup=$mount/$1
    mkdir "$cgroup"
    upper=$4
    (
        # As a real PID 1 has them, where we may.
        { ulimit -Hn 524288 && ulimit -Sn 1024; } 2>/dev/null || true
        echo "$BASHPID" >"$cgroup/cgroup.procs"
        # --pdeathsig is for the case that this very script is killed. A machine can neither load modules nor set the clock.
        exec setpriv --pdeathsig KILL --bounding-set -sys_module,-sys_time,-sys_rawio,-syslog \
            unshare --pid --fork --kill-child --mount --net --ipc --uts --cgroup bash "$0" init "$1" "$2" "$3" "$4" "$cgroup" "${@:5}"
    ) </dev/null &
    machine=$!
    trap clean_up EXIT
    trap '' INT TERM HUP # it is the owner's end that ends us
    # Now only the machine holds standard output: its end tells the owner that the machine could not be set up.
    exec >&-
    while read -r _; do :; done
}

"$@"
