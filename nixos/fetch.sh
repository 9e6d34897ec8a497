# fetch.sh URL REF SUBMODULES : makes $STATE_DIRECTORY/tree a checkout of REF, or of the remote's
# default branch if REF is empty. The program of nixactions-fetch@NAME.service. The workflow's
# service shows what it prints on failure.
set -euo pipefail
url=$1 ref=$2 submodules=$3
tree=$STATE_DIRECTORY/tree

# git's settings for this user alone: git asks no questions, and a repository on this machine may
# belong to any user, since a fetch runs nothing of it.
export HOME=$RUNTIME_DIRECTORY GIT_TERMINAL_PROMPT=0 GIT_CONFIG_NOSYSTEM=1
git config --global safe.directory '*'
git config --global advice.detachedHead false
if [ -e "${CREDENTIALS_DIRECTORY:-/}/password" ]; then
    # git gets the password for the URL's own host alone, and not for a submodule elsewhere.
    origin=$(sed -E 's|^(https?://[^/]*).*|\1|' <<<"$url")
    # shellcheck disable=SC2016 # git's own shell expands it.
    git config --global "credential.$origin.helper" '!f() { [ "$1" != get ] || {
        echo "username=$FETCH_USER"
        echo "password=$(head -n 1 "$CREDENTIALS_DIRECTORY/password")"
    }; }; f'
fi

# ssh asks no questions, either, and refuses a host whose key the machine does not know.
export GIT_SSH_COMMAND="ssh -o BatchMode=yes -o StrictHostKeyChecking=yes"
if [ -e "${CREDENTIALS_DIRECTORY:-/}/ssh-key" ]; then
    GIT_SSH_COMMAND+=" -o IdentitiesOnly=yes -i $CREDENTIALS_DIRECTORY/ssh-key"
fi

new() {
    rm -rf "$tree"
    git init --quiet --initial-branch=none "$tree"
}
get() {
    git -C "$tree" config remote.origin.url "$url"
    git -C "$tree" fetch --quiet --force --prune --no-recurse-submodules origin \
        '+refs/heads/*:refs/remotes/origin/*' '+refs/tags/*:refs/tags/*'
}
[ -e "$tree/.git/HEAD" ] || new
rm -f "$tree/.git/index.lock" # The lock of a fetch that was killed.
# A loss of power may break the checkout: then it is fetched anew. A sound one is kept when the
# remote does not answer.
get || {
    git -C "$tree" fsck --connectivity-only >/dev/null 2>&1 && exit 1
    new
    get
}
cd "$tree"

if [ -z "$ref" ]; then
    git remote set-head origin --auto >/dev/null
    ref=$(git symbolic-ref --short refs/remotes/origin/HEAD)
    ref=${ref#origin/}
fi
if git show-ref --verify --quiet "refs/remotes/origin/$ref"; then
    git checkout --quiet --force -B "$ref" "refs/remotes/origin/$ref"
elif git show-ref --verify --quiet "refs/tags/$ref"; then
    git checkout --quiet --force --detach "refs/tags/$ref^{commit}"
elif git cat-file -e "$ref^{commit}" 2>/dev/null; then
    git checkout --quiet --force --detach "$ref"
else
    echo "there is no branch, tag or commit \`$ref\` in \`$url\`" >&2
    exit 1
fi
git clean -ffdx --quiet
if [ "$submodules" = true ]; then
    git submodule --quiet sync --recursive
    git submodule --quiet update --init --recursive --force
fi
echo "$url: $(git log -1 --format='%h %s')"
