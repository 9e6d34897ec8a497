# first.sh UNIT WHAT… : starts a service that does something before a run, such as `obtain the images`,
# and waits for its end. After a failure, it repeats the last lines of that service.
set -u
unit=$1
shift
what=$*
export LC_ALL=C
show() {
    systemctl show --value --property="$1" "$unit"
}
before=$(show InvocationID) since=$EPOCHREALTIME
# `start` would wait for one that goes on already, and that began before the last commit: a killed
# client leaves one.
said=$(systemctl restart "$unit" 2>&1) && exit 0
invocation=$(show InvocationID) result=$(show Result) status=$(show ExecMainStatus)
echo "failed to $what ($result); $unit says:" >&2
if [ -z "$invocation" ] || [ "$invocation" = "$before" ]; then
    # It was not started.
    echo "$said" >&2
    exit 1
fi
# Not the lines with this id alone: where a process ends at once, journald no longer finds the id.
lines=("_SYSTEMD_UNIT=$unit")
# A service that ended by itself has said why, unless it did not begin (systemd.exec(5), "Process Exit
# Codes"). All else is told by systemd.
if [ "$result" != exit-code ] || [ "$status" -ge 200 ]; then
    lines+=(+ "_PID=1" "UNIT=$unit")
fi
journalctl --sync
journalctl --quiet --output=cat --lines=10 --since="@$since" "${lines[@]}" >&2
exit 1
