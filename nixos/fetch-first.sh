# fetch-first.sh UNIT : starts the service that fetches a workflow's source, and waits for its end.
# After a failure, it repeats the last lines of that service.
set -u
unit=$1
systemctl start "$unit" 2>/dev/null && exit 0
invocation=$(systemctl show --value --property=InvocationID "$unit")
journalctl --sync
echo "failed to fetch the source; $unit says:" >&2
journalctl --quiet --output=cat --lines=10 "_SYSTEMD_INVOCATION_ID=$invocation" >&2
exit 1
