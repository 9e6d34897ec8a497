//! Texts that may stand in plans and workflows, for which language and engine must say the same.

/// Returns texts that are good in some places and bad in others.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "\n",
        ".",
        "..",
        "...",
        "/",
        "//",
        "/.",
        "a",
        "A1",
        "_a",
        "1a",
        "-a",
        "a-b",
        "a_b",
        "a.b",
        ".a",
        "a b",
        " a",
        "a\tb",
        "a\nb",
        "a\u{1}b",
        "\u{e9}",
        "a\u{7f}b",
        "a\u{80}b",
        "a\u{85}b",
        "a\u{9f}b",
        "a\u{a0}b",
        "\u{b}\u{c}",
        "\u{85}",
        "\u{a0}",
        "\u{1680}\u{2003}\u{2029}\u{202f}\u{205f}\u{3000}",
        "\u{200b}",
        "\u{a0}success()",
        "true && success\u{a0}()",
        "a/b",
        "a/",
        "./a",
        "/a",
        "/a b",
        "/a/../b",
        "/a/..",
        "a/../b",
        "../a",
        "a/..",
        "a..b",
        "a:b",
        "a=b",
        "~",
        "$A",
        "PATH",
        "HOME",
        "CI",
        "JOB_ENV",
        "GITHUB_ENV",
        "NIXACTIONS",
        "NIXACTIONS_X",
        "nixactions.x",
        "NEEDS_TEST_X",
        "INPUT_X",
        "default",
        "success()",
        " always() ",
        "failure()\n",
        "cancelled()",
        "canceled()",
        "Success()",
        "ALWAYS",
        "always",
        "success ()",
        "success( )",
        "f1()",
        "f()",
        "f() { true; }",
        "my_success() { :; }; my_success",
        "success() && true",
        "true && failure ( )",
        "! cancelled()",
        "${{ success() }}",
        "test -e x",
        "x=$(success)",
        "grep success file",
    ]
    .map(str::to_owned)
    .into();
    texts.extend(
        [99, 100, 101, 199, 200, 201, 255, 256, 4095, 4096].map(|length| "x".repeat(length)),
    );
    texts.extend([255, 256].map(|length| format!("/{}", "x".repeat(length))));
    texts.push("x/".repeat(2048));
    texts
}

/// Returns texts that stand where expressions may, beside all others.
fn expressions() -> Vec<String> {
    let mut texts: Vec<String> = [
        "${{ env.A }}",
        "${{ }}",
        "${{",
        "${{ 'a }}",
        "${{ 'a }}' }}",
        "x ${{ env.A }} ${{ '${{' }} y",
        "${{ env.A }} && ${{ env.B }}",
        "${{ steps.a.outcome }}",
        "${{ steps.b.outcome }}",
        "${{ steps['a'].outputs.x == 1 }}",
        "${{ steps.a.outcom }}",
        "${{ steps.a.outcome.x }}",
        "${{ steps == 'a' }}",
        "${{ steps.*.outcome.x }}",
        "${{ needs.test.result }}",
        "${{ inputs.a }}",
        "${{ matrix.a }}",
        "${{ nixactions.run }}",
        "${{ nixactions.RUN }}",
        "${{ nixactions.sha }}",
        "${{ github.ref }}",
        "${{ job.status }}",
        "${{ hashFiles('a') }}",
        "${{ hashFiles() }}",
        "${{ always() }}",
        "${{ always(1) }}",
        "${{ ALWAYS() || Cancelled() }}",
        "${{ startsWith(steps, 'a') }}",
        "${{ contains(steps, 'a') }}",
        "${{ format('{0}', env.A, 1, 2, 3) }}",
        "${{ join(env.A, ',', 1) }}",
        "${{ fromJSON(env.A).a.b[0][env.B] }}",
        "${{ tojson(needs) }}",
        "${{ contians('a', 'b') }}",
        "!cancelled()",
        "!!always() && (env.A || env.B)",
        "always() &&",
        "always() && 'it''s' == ''",
        "always() && '''' != 'a''''b'",
        "always() && 'a'''b'",
        "always() && 1.5 > .5e3",
        "always() && 1. >= -0x1F",
        "always() && 0x1F < 0o17",
        "always() && 1.2.3",
        "always() && .",
        "always() && - 1",
        "always() && -Infinity < +1e+5",
        "always() && 0x100000000",
        "always() && 0x00000000ffffffff",
        "always() && 0o37777777777 != 0o40000000000",
        "always() && 1\u{a0}",
        "always() && env.1",
        "always() && env.true",
        "always() && env .A. B",
        "always() && env.A.B",
        "always() && env['A']['B']",
        "always() && env[",
        "always() && env[*].x",
        "always() && env.*",
        "always() && true.a",
        "always() && ('a').b",
        "always() && 'a'.b",
        "always() && NaN != Infinity && null == false",
        "always() && nan",
        "always() = 1",
        "always() & 1",
        "always() | 1",
        "always() && \"a\"",
        "always() && $A",
        "always() && \u{e9}",
        "always() && '\u{e9}'",
        "always() a",
        "always() && a*b",
        "always() && (1",
        "always() && 1)",
        "always() && contains('a','b',)",
        "always()\n\t&&\r\u{c} true",
        "always() &&\u{b} true",
        "failure() && a b",
        "success () && success( )",
    ]
    .map(str::to_owned)
    .into();
    for depth in [48, 49, 50, 51] {
        texts.push(format!("${{{{ {}true }}}}", "!".repeat(depth)));
        let (open, close) = ("(".repeat(depth), ")".repeat(depth));
        texts.push(format!("${{{{ {open}true{close} }}}}"));
    }
    for words in [2000, 2001] {
        texts.push(format!("${{{{ {} }}}}", vec!["env"; words].join("||")));
    }
    texts
}

/// Returns the texts for a place.
pub fn texts_of(place: &str) -> Vec<String> {
    let mut all = texts();
    if matches!(
        place,
        "condition" | "stepCondition" | "stepEnv" | "outputFrom"
    ) {
        all.extend(expressions());
    }
    all
}
