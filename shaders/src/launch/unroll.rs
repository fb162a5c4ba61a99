//! Loops of a WGSL template that are written out before it is compiled.

/// Repeats the lines between `//@ for x in 0..N` and `//@ end` N times with `@x` replaced by the number, from the last
/// number to the first where the line ends in `reversed`.
///
/// Values that must stay in registers get a name each (`sum_@r`): whether a compiler unrolls a loop over a private array
/// differs, and where it does not the array lies in memory.
pub(super) fn unroll(lines: &[&str]) -> String {
    let mut out = String::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim();
        at += 1;
        let Some(head) = line.strip_prefix("//@ for ") else {
            out.push_str(lines[at - 1]);
            out.push('\n');
            continue;
        };
        let start = at;
        let mut depth = 1;
        while depth > 0 {
            let line = lines
                .get(at)
                .unwrap_or_else(|| panic!("`{line}` without `//@ end`"))
                .trim();
            depth += usize::from(line.starts_with("//@ for "));
            depth -= usize::from(line == "//@ end");
            at += 1;
        }
        let body = lines[start..at - 1].join("\n");
        let (range, reversed) = match head.strip_suffix(" reversed") {
            Some(range) => (range, true),
            None => (head, false),
        };
        let parts = range
            .split_once(" in 0..")
            .and_then(|(name, count)| Some((name, count.parse::<usize>().ok()?)));
        let (name, count) =
            parts.unwrap_or_else(|| panic!("`{line}`: expected `//@ for NAME in 0..NUMBER`"));
        for step in 0..count {
            let number = if reversed { count - 1 - step } else { step };
            let body = body.replace(&format!("@{name}"), &number.to_string());
            out.push_str(&unroll(&body.lines().collect::<Vec<_>>()));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_of_a_template_unroll_inside_out() {
        let source =
            "a\n//@ for r in 0..2\nx_@r\n  //@ for c in 0..2\n  y_@r_@cu\n  //@ end\n//@ end\nb";
        let lines: Vec<_> = source.lines().collect();
        assert_eq!(
            unroll(&lines),
            "a\nx_0\n  y_0_0u\n  y_0_1u\nx_1\n  y_1_0u\n  y_1_1u\nb\n"
        );
        assert_eq!(unroll(&["//@ for r in 0..0", "x", "//@ end"]), "");
        let reversed = unroll(&["//@ for r in 0..2 reversed", "x_@r", "//@ end"]);
        assert_eq!(reversed, "x_1\nx_0\n");
    }
}
