# What the scripts share: finding Rust, and doing what needs root. Sourced, from the repository's
# top directory.

# Runs a command as root: directly, or by sudo, which asks for a password only where someone can
# type one.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif ! command -v sudo >/dev/null; then
        echo "error: only root can do this, and there is no \`sudo\`: $*" >&2
        return 1
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

# Puts cargo into PATH.
find_cargo() {
    command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    command -v cargo >/dev/null && return
    echo "error: Rust is missing: no \`cargo\` in PATH nor in ${CARGO_HOME:-$HOME/.cargo}/bin" >&2
    echo "hint: install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml) or newer with rustup (https://rustup.rs)" >&2
    return 1
}
