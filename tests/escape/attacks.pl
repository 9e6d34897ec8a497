# Attacks that a step plays on what is not its own. Each says whether it held. Perl, since every
# Debian has it and it makes any system call (x86-64's numbers).
use strict; use warnings; no warnings 'portable'; use Socket;
my $runner = shift;
my $run = "/run/nixactions";
my ($held, $fell) = (0, 0);
# An attack returns true where it came through.
sub attack {
    my ($name, $code) = @_;
    my $through = eval { $code->() };
    if ($through) { $fell++; print "FELL $name\n" } else { $held++; print "HELD $name\n" }
}
sub call { my $r = syscall($_[0], map { $_ } @_[1..$#_]); return $r != -1 }
sub slurp { open(my $f, '<', $_[0]) or return ''; local $/; my $t = <$f>; return $t // '' }
sub readable { open(my $f, '<', $_[0]) or return 0; return defined(sysread($f, my $b, 1)) }
sub writable { open(my $f, '+<', $_[0]) or return 0; return 1 }
sub creatable { open(my $f, '>', $_[0]) or return 0; close $f; unlink $_[0]; return 1 }
sub connects {
    my $address = shift;
    for my $type (SOCK_STREAM, SOCK_DGRAM) {
        socket(my $s, PF_UNIX, $type, 0) or next;
        return 1 if connect($s, pack_sockaddr_un($address));
    }
    return 0;
}
my $own = slurp('/proc/self/cgroup');
sub outside { my $c = slurp("/proc/$_[0]/cgroup"); return $c ne '' && $c ne $own }
my @seen = grep { /^\d+$/ } map { s{^/proc/}{}r } glob('/proc/[0-9]*');

# The runner, which is of the same user.
attack("runner: $_ is read", sub { readable("/proc/$runner/$_") }) for qw(environ mem auxv);
attack("runner: its memory map is read", sub { readable("/proc/$runner/maps") });
attack("runner: its memory is written to", sub { writable("/proc/$runner/mem") });
attack("runner: what it has open is listed", sub { opendir(my $d, "/proc/$runner/fd") });
attack("runner: what it has open is opened",
    sub { grep { open(my $f, '>>', "/proc/$runner/fd/$_") } 0 .. 30 });
attack("runner: its $_ is followed", sub { readlink("/proc/$runner/$_") }) for qw(cwd root exe);
attack("runner: it is attached to", sub { call(101, 16, $runner, 0, 0) });
attack("runner: it is seized", sub { call(101, 0x4206, $runner, 0, 0) });
my $buffer = "x" x 8;
my $vector = pack('QQ', unpack('Q', pack('p', $buffer)), 8);
attack("runner: process_vm_readv", sub { call(310, $runner, $vector, 1, pack('QQ', 0x400000, 8), 1, 0) });
attack("runner: process_vm_writev", sub { call(311, $runner, $vector, 1, pack('QQ', 0x400000, 8), 1, 0) });
attack("runner: pidfd_getfd", sub {
    my $pidfd = syscall(434, $runner, 0);
    return 0 if $pidfd < 0;
    grep { call(438, $pidfd, $_, 0) } 0 .. 30;
});
attack("runner: kcmp", sub { call(312, $runner, $$, 1, 0, 0) });
attack("runner: perf_event_open", sub { call(298, pack('LLQ', 1, 120, 0) . "\0" x 104, $runner, -1, -1, 0) });

# What decides about the job, and what others of the run have.
attack("result: the events are appended to", sub { open(my $f, '>>', "$run/job/out/events.jsonl") });
attack("result: the events are truncated", sub { truncate("$run/job/out/events.jsonl", 0) });
attack("result: the events are removed", sub { unlink("$run/job/out/events.jsonl") });
attack("result: the directory is replaced", sub { rename("$run/job/out", "$run/job/away") });
attack("result: a file is made beside", sub { creatable("$run/job/out/x") });
attack("result: its mode is changed", sub { chmod(0666, "$run/job/out/events.jsonl") });
attack("spec: it is written to", sub { open(my $f, '>>', "$run/job/spec.json") });
attack("spec: it is replaced", sub { rename("$run/job/spec.json", "$run/job/away.json") });
attack("need: its result is written to", sub { open(my $f, '>>', "$run/jobs/need/out/events.jsonl") });
attack("need: its artifact is written to", sub { creatable("$run/jobs/need/artifacts/thing/x") });
attack("need: its workspace is listed", sub { opendir(my $d, "$run/jobs/need/work") });
attack("run: the flag `$_` is raised", sub { creatable("$run/shared/$_") }) for qw(cancelled killed);
attack("run: a request is made", sub { creatable("$run/control/cancel") });
attack("run: its $_ is read", sub { readable("$run/$_") }) for qw(run.json plan.json events.jsonl);
attack("run: the job beside is listed", sub { opendir(my $d, "$run/jobs/busy") });
# Where a systemd before 258 counts no jobs, these bound how many run at once.
attack("slots: a lock of running jobs is taken", sub {
    my @locks = map { glob("$_/*/* $_/*/*/*") } "$run/slots", "$run/shared", map { "/proc/$runner/fd/$_" } 0 .. 30;
    my $lock;
    grep { -f $_ && open($lock, '<', $_) && flock($lock, 6) } @locks;
});
attack("programs: the runner is replaced", sub { writable("$run/bin/nixactions-runner") });

# Other processes.
attack("processes: one of others is signalled", sub {
    grep { $_ != $runner && kill(0, $_) && (outside($_) || !-e "/proc/$_") } 1 .. 40000;
});
attack("processes: one of others is traced", sub {
    grep { outside($_) && call(101, 0x4206, $_, 0, 0) } @seen;
});
attack("processes: the $_ of one of others is read", sub {
    my $what = $_;
    grep { outside($_) && readable("/proc/$_/$what") } @seen;
}) for qw(environ mem);
# With a user's manager others have the same user: it can count what they have open, no more.
attack("processes: what one of others has open is seen", sub {
    grep { my $p = $_; outside($p) && grep { readlink("/proc/$p/fd/$_") || readable("/proc/$p/fd/$_") } 0 .. 9 } @seen;
});
attack("processes: the root of one of others is entered", sub {
    grep { outside($_) && opendir(my $d, "/proc/$_/root/") } @seen;
});
attack("processes: the namespace of one of others is entered", sub {
    grep {
        my $f;
        outside($_) && open($f, '<', "/proc/$_/ns/mnt") && call(308, fileno($f), 0)
    } @seen;
});
attack("sockets: another job's abstract socket is reached", sub { connects("\0nixactions-escape") });

# The machine.
attack("sockets: $_ is reached", sub { connects($_) }) for qw(
    /run/dbus/system_bus_socket /run/systemd/private /run/systemd/io.systemd.ManagedOOM
    /run/systemd/io.system.ManagedOOM /run/udev/control /run/docker.sock);
attack("sockets: the user's manager is reached", sub {
    grep { connects("/run/user/$</$_") } 'bus', 'systemd/private';
});
attack("files: $_ is read", sub { readable($_) }) for qw(/etc/shadow /dev/mem /dev/kmsg /proc/kcore);
attack("files: $_ is written to", sub { creatable("$_/probe") }) for qw(/ /etc /usr/bin /var/lib /run /boot /opt);
attack("files: `$_` is set", sub { writable($_) }) for qw(
    /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sysrq-trigger);
attack("files: homes are listed", sub { glob('/root/.b*') || grep { !m{^/home/?$} } glob('/home/*') });
attack("cgroup: one is made", sub { mkdir("/sys/fs/cgroup/probe") });
attack("cgroup: it is left", sub {
    grep { open(my $f, '>', $_) } glob('/sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/*/cgroup.kill');
});
# Of a user's manager, the deeper ones belong to the user.
my @groups = ('/sys/fs/cgroup');
for (my $at = 0; $at < @groups; $at++) {
    opendir(my $directory, $groups[$at]) or next;
    push @groups, grep { !-l $_ && -d $_ } map { "$groups[$at]/$_" } grep { !/^\./ } readdir $directory;
}
attack("cgroup: a deeper one is made", sub { grep { mkdir("$_/probe") && rmdir("$_/probe") } @groups });
attack("cgroup: it is left for a deeper one", sub {
    grep { my $f; open($f, '>', "$_/cgroup.procs") && defined(syswrite($f, "$$\n")) } @groups;
});
attack("cgroup: $_ of another is opened", sub {
    my $file = $_;
    grep { open(my $f, '>', "$_/$file") } @groups;
}) for qw(cgroup.kill cgroup.freeze memory.max pids.max);
# unshare(CLONE_NEWUSER | CLONE_NEWNS), then mount(2).
attack("cgroup: the groups are mounted writable in another namespace", sub {
    my $child = fork();
    if (!$child) {
        my $at = '/sys/fs/cgroup';
        call(272, 0x10020000) or exit 1;
        # MS_REMOUNT | MS_BIND, and as a new file system.
        exit !(call(165, "none", $at, "none", 0x1020, 0) || call(165, "none", $at, "cgroup2", 0, 0));
    }
    waitpid($child, 0);
    $? == 0;
});
my %calls = (
    'init_module' => [175, $buffer, 8, ""], 'kexec_load' => [246, 0, 0, 0, 0],
    'reboot' => [169, 0xfee1dead, 672274793, 0, 0], 'swapon' => [167, "/dev/null", 0],
    'settimeofday' => [164, pack('qq', 1, 0), 0], 'sethostname' => [170, "owned", 5],
    'acct' => [163, "/tmp/acct"], 'iopl' => [172, 3], 'quotactl' => [179, 0x800002, 0, 0, 0],
    'bpf' => [321, 0, "\0" x 128, 128], 'open_by_handle_at' => [304, -100, "\0" x 32, 0],
    'mount' => [165, "none", "/tmp", "tmpfs", 0, 0], 'umount' => [166, "/proc", 2],
    'chroot' => [161, "/tmp"], 'pivot_root' => [155, "/tmp", "/tmp"], 'syslog' => [103, 3, $buffer, 8],
    'mknod' => [133, "/tmp/device", 0020666, 0x103], 'setuid' => [105, 0],
);
# In a process of its own: root of a container may change its root directory and its user.
sub in_child {
    my $code = shift;
    my $child = fork();
    exit !$code->() if !$child;
    waitpid($child, 0);
    return $? == 0;
}
attack("call: $_", sub { my @call = @{ $calls{$_} }; in_child(sub { call(@call) }) })
    for sort keys %calls;
attack("privileges: a set-user-ID program gives some", sub {
    system("cp /usr/bin/id \$HOME/id && chmod u+s \$HOME/id 2>/dev/null && test -u \$HOME/id") == 0
        && slurp('/proc/self/status') !~ /NoNewPrivs:\s*1/;
});
attack("privileges: it has any", sub { slurp('/proc/self/status') !~ /CapEff:\s*0+\n/ });
print "END held=$held fell=$fell\n";
