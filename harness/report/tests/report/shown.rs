//! What people read: the table, GitHub's summary and annotations, the page.

use hil_core::verdict::Verdict;
use hil_report::safe_text::width;
use hil_report::{Report, annotations, github_summary, html, table};

use crate::fold::report;
use crate::hostile;
use crate::sample::{Run, plan, whole};

fn boards() -> Vec<Report> {
    ["qemu-x86_64", "qemu-arm"].map(|board| report(whole(board))).into()
}

#[test]
fn the_table_has_a_line_a_case_with_why_it_is_not_green() {
    let text = table(&boards(), false);
    let line = |start: &str| {
        let words: Vec<&str> = start.split(' ').collect();
        let fits =
            |line: &&str| line.split_whitespace().take(words.len()).eq(words.iter().copied());
        let found = text.lines().find(fits);
        let found = found.unwrap_or_else(|| panic!("no {start:?} in\n{text}"));
        found.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("qemu-arm boot/ready"), "qemu-arm boot/ready pass 1.5s");
    let clock = "qemu-arm boot/clock FAIL 1.5s the clock is 1970-01-01 / expected 2026";
    assert_eq!(line("qemu-arm boot/clock"), clock);
    let run = "qemu-arm containers/run BROKEN 1.5s QEMU died: signal 9";
    assert_eq!(line("qemu-arm containers/run"), run);
    assert_eq!(
        line("qemu-arm ota/rollback"),
        "qemu-arm ota/rollback skip - needs updater: no \
        [updater.…] in image.toml"
    );
    assert_eq!(line("qemu-arm demo-os"), "qemu-arm demo-os mini 0.4 1.2 3.5 12.0 31.4");
    assert!(text.ends_with(
        "\n2 boards, 16 cases: 4 passed (2 unexpectedly), 2 failed, 2 broken, 2 failed as \
         expected, 6 skipped\n"
    ));
    assert!(text.find("qemu-arm").unwrap() < text.find("qemu-x86_64").unwrap());
}

#[test]
fn colour_is_only_where_it_is_wanted() {
    assert!(!table(&boards(), false).contains('\x1b'));
    assert!(table(&boards(), true).contains("\x1b[1;31mFAIL   \x1b[0m"));
}

#[test]
fn the_table_stays_within_its_columns_and_gives_no_commands() {
    for seed in 0..400 {
        let text = table(&[report(hostile::run(seed))], false);
        for line in text.lines() {
            assert!(width(line) <= 100, "seed {seed}: {} {line}", width(line));
            let start = line.trim_start();
            assert!(!start.starts_with("::") && !line.contains("##["), "seed {seed}: {line}");
            assert!(!line.chars().any(|ch| ch.is_control()), "seed {seed}: {line:?}");
        }
    }
    let long = format!("{} end", "wörd ".repeat(200));
    let run = Run::of(plan("b", &[("os", &["s/a"])], &[])).session("os").fail("s/a", &long);
    let text = table(&[report(run.finished())], false);
    let folded: Vec<&str> = text.lines().filter(|line| line.starts_with("    | ")).collect();
    assert_eq!(folded.len(), 4);
    assert!(folded[3].ends_with('…'), "{text}");
}

#[test]
fn the_summary_has_tables_and_the_consoles_of_what_went_wrong() {
    let text = github_summary(&boards());
    assert!(text.starts_with("## hil: 16 cases: 4 passed"), "{text}");
    assert!(
        text.contains("| boot/clock | ❌ **fail** | 1.5s | the clock is 1970-01-01 / expected")
    );
    assert!(text.contains("```text\nthe clock is 1970-01-01\nexpected 2026\n```"));
    assert!(text.contains("```text\nlast words\n```"));
    // Two troubles a board, and its figures.
    assert_eq!(text.matches("<details>").count(), 6);
    assert!(text.contains("| demo-os mini | boot to ready | 0.3 s |"), "{text}");
    assert!(text.contains("| boot/ready | login | 0.333 s |"), "{text}");
    assert!(text.contains("firmware 0.4 s, bootloader 1.2 s, kernel 3.5 s"), "{text}");
}

#[test]
fn a_guest_cannot_write_markdown_or_html() {
    let why = "a|b `c` </details><script>x</script> ``` \n````\n# head @user [x](y)";
    let run = Run::of(plan("b|", &[("os", &["s/a"])], &[])).session("os");
    let run = run.begin("s/a").end("s/a", Verdict::Fail, Some(why), &["````", "</pre><b>"]);
    let reports = [report(run.finished())];

    let text = github_summary(&reports);
    let row = text.lines().find(|line| line.starts_with("| s/a")).unwrap();
    assert_eq!(row.matches('|').count(), 5, "{row}");
    assert!(!row.contains(['<', '`', '@']), "{row}");
    assert!(text.contains("\n`````text\n"), "a fence longer than any within\n{text}");

    let page = html(&reports);
    assert!(!page.contains("<script>") && !page.contains("</pre><b>"), "{page}");
    assert!(page.contains("&lt;script&gt;"));
}

#[test]
fn the_summary_stays_within_what_github_takes() {
    let many: Vec<String> = (0..3000).map(|n| format!("s/case-{n}")).collect();
    let names: Vec<&str> = many.iter().map(String::as_str).collect();
    let long = "why ".repeat(5000);
    let mut run = Run::of(plan("b", &[("os", &names)], &[])).session("os");
    for name in &names {
        run = run.fail(name, &long);
    }
    let text = github_summary(&[report(run.finished())]);
    assert!(text.len() < 1 << 20, "{}", text.len());
    assert!(text.ends_with("see junit.xml.\n"));
}

#[test]
fn annotations_are_escaped_as_the_runner_unescapes_them() {
    let run = Run::of(plan("b", &[("os", &["s/a", "s/b?bug 1", "s/c?bug 2"])], &[])).session("os");
    let run = run.fail("s/a", "100%, a:b\n::warning::forged").fail("s/b", "x").pass("s/c");
    let text = annotations(&[report(run.session_ended().note("slow, host").finished())]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "::error title=b s/a::100%25, a:b%0A::warning::forged",
            "::notice title=b s/b::expected failure: bug 1: x",
            "::warning title=b s/c::passed, but was expected to fail (bug 2): take it off the \
             expected failures",
            "::notice title=b::slow, host",
        ]
    );
    let mut plan = plan("b", &[("os", &["s/a"])], &[]);
    plan.board = "a:b,c".into();
    let text = annotations(&[report(Run::of(plan).finished())]);
    assert!(text.starts_with("::error title=a%3Ab%2Cc s/a (rack or host broken)::"), "{text}");
}

#[test]
fn the_page_is_whole_and_needs_nothing_beside_it() {
    for seed in 0..300 {
        let page = html(&[report(hostile::run(seed))]);
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
        assert!(!page.contains("<script") && !page.contains("src="), "seed {seed}");
        let tags = |name: &str| page.matches(name).count();
        assert_eq!(tags("<pre>"), tags("</pre>"), "seed {seed}");
        assert_eq!(tags("<details>"), tags("</details>"), "seed {seed}");
        assert_eq!(tags("<tr>"), tags("</tr>"), "seed {seed}");
    }
    let page = html(&boards());
    assert!(page.contains("width:61.78%\" title=\"userspace 19.4 s\""), "{page}");
    assert!(page.contains("<a href=\"./run/strace.txt\">"));
}
