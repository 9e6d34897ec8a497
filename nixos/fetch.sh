# fetch.sh URL REF SUBMODULES : makes $STATE_DIRECTORY/tree a checkout of REF, or of the remote's
# default branch if REF is empty. The program of nixactions-fetch@NAME.service. The workflow's
# service shows what it prints on failure.
set -euo pipefail
url=$1 ref=$2 submodules=$3
tree=$STATE_DIRECTORY/tree

# git's settings for this user alone: git asks no questions, and a repository on this machine may
# belong to any user, since a fetch runs nothing of it.
export HOME=$RUNTIME_DIRECTORY GIT_TERMINAL_PROMPT=0 GIT_CONFIG_NOSYSTEM=1
# A damaged checkout is not taken for a directory of another repository.
export GIT_CEILING_DIRECTORIES=$STATE_DIRECTORY
git config --global safe.directory '*'
git config --global advice.detachedHead false
# The end of this service would kill git's maintenance in the background.
git config --global gc.autoDetach false
git config --global maintenance.autoDetach false
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

# Exit statuses of an attempt, besides 0 and those of git.
not_fetched=90 no_ref=91 no_modules=92 no_head=93

new() {
    rm -rf "$tree"
    git init --quiet --initial-branch=none "$tree"
    is_new=1
}

modules() {
    git submodule --quiet sync --recursive &&
        git submodule --quiet update --init --recursive --force
}

# The names of the submodules in a file of git's settings.
names() {
    git config --file "$1" --name-only --get-regexp '^submodule[.].*[.](path|url|active)$' |
        sed -E 's/^submodule[.](.*)[.][a-z]+$/\1/' | sort --unique
}

# Forgets the submodules that the commit does not have. git does not: another submodule may take
# the name, or lie below it.
forget_modules() {
    local name
    comm -23 <(names .git/config) <(names .gitmodules) | while IFS= read -r name; do
        git config --remove-section "submodule.$name"
        case /$name/ in */../* | //) ;; *) rm -rf ".git/modules/$name" ;; esac
    done
}

attempt() {
    cd "$tree"
    git config remote.origin.url "$url"
    git fetch --quiet --force --prune --no-recurse-submodules origin \
        '+refs/heads/*:refs/remotes/origin/*' '+refs/tags/*:refs/tags/*' || exit "$not_fetched"
    if [ -z "$ref" ]; then
        git remote set-head origin --auto >/dev/null || exit "$no_head"
        ref=$(git symbolic-ref --short refs/remotes/origin/HEAD)
        ref=${ref#origin/}
    fi
    # No name is left but those of the remote: the branches of earlier checkouts go.
    git for-each-ref --format='delete %(refname)' refs/heads | git update-ref --stdin
    git update-ref --no-deref -d refs/remotes/origin/HEAD

    if git show-ref --verify --quiet "refs/remotes/origin/$ref"; then
        git checkout --quiet --force -B "$ref" "refs/remotes/origin/$ref"
    elif git show-ref --verify --quiet "refs/tags/$ref"; then
        git checkout --quiet --force --detach "refs/tags/$ref^{commit}"
    elif [[ $ref =~ ^[0-9a-fA-F]{4,64}$ ]] && git cat-file -e "$ref^{commit}" 2>/dev/null; then
        git checkout --quiet --force --detach "$ref"
    else
        exit "$no_ref"
    fi
    git clean -ffdx --quiet
    forget_modules
    if [ "$submodules" != true ]; then
        if [ -e .git/modules ]; then
            git submodule --quiet deinit --all --force
            rm -rf .git/modules
        fi
    elif ! modules; then
        echo "fetching the submodules anew" >&2
        git submodule --quiet deinit --all --force
        rm -rf .git/modules
        modules || exit "$no_modules"
    fi
    echo "$url: $(git log -1 --format='%h %s')"
}

# An attempt is a process of its own, and not a part of a condition: there, bash goes on after a
# command that failed.
try() {
    set +e
    (
        set -e
        attempt
    )
    status=$?
    set -e
}

is_sound() {
    git -C "$tree" fsck --no-dangling && git -C "$tree" ls-files
}

is_new=
# The commits of another repository are not those of this one.
[ "$(git -C "$tree" config remote.origin.url 2>/dev/null || true)" = "$url" ] || new
# Locks of a fetch that was killed: only this service uses the checkout.
find "$tree/.git" -type f -name '*.lock' -delete
try
# A kill or a loss of power may break the checkout: then it is fetched anew. A sound one is kept
# while the remote does not answer.
if [ "$status" != 0 ] && [ -z "$is_new" ]; then
    keep=
    case $status in
    "$no_modules") keep=1 ;;
    "$not_fetched") { ! git ls-remote --quiet "$url" || is_sound; } >/dev/null 2>&1 && keep=1 ;;
    # A full disk, for example.
    *) is_sound >/dev/null 2>&1 && keep=1 ;;
    esac
    if [ -z "$keep" ]; then
        echo "the checkout may be damaged: fetching it anew" >&2
        new
        try
    fi
fi
case $status in
"$no_ref") echo "there is no branch, tag or commit \`$ref\` in \`$url\`" >&2 ;;
"$no_head") echo "\`$url\` has no default branch: name a \`ref\`" >&2 ;;
esac
exit "$((status != 0))"
