//! One HTML file that needs nothing else: facts, plots, configuration.

use super::plot::PLOT_CSS;
use std::fmt::Write as _;

/// What goes into a report.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Heading and window title.
    pub title: String,
    /// One line under the heading.
    pub summary: String,
    /// Results, as (name, value).
    pub facts: Vec<(String, String)>,
    /// `<svg>` elements, as [`super::plot::svg`] gives them.
    pub plots: Vec<String>,
    /// Configuration of the run, as (key, value).
    pub config: Vec<(String, String)>,
}

/// The page as one HTML document.
pub fn render(page: &Page) -> String {
    let mut out = String::new();
    let title = escape(&page.title);
    // Writing to a String cannot fail, so the results of `write!` are of no interest.
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <style>\n{PLOT_CSS}{PAGE_CSS}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n<p>{}</p>\n",
        escape(&page.summary)
    );
    table(&mut out, "Results", &page.facts);
    for plot in &page.plots {
        let _ = write!(out, "<figure>\n{plot}</figure>\n");
    }
    table(&mut out, "Configuration", &page.config);
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

const PAGE_CSS: &str = "\
:root{--paper:#ffffff}
@media (prefers-color-scheme:dark){:root{--paper:#0d1117}}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:760px;margin:0 auto;padding:1rem}
figure{margin:1.5rem 0}svg{width:100%;height:auto}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .5rem;border-bottom:1px solid var(--grid);overflow-wrap:anywhere}
th{font-weight:600;width:14rem}td{font-variant-numeric:tabular-nums}
";

fn table(out: &mut String, heading: &str, rows: &[(String, String)]) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(out, "<h2>{heading}</h2>\n<table>\n");
    for (name, value) in rows {
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td></tr>",
            escape(name),
            escape(value)
        );
    }
    out.push_str("</table>\n");
}

/// `text` with HTML's special characters replaced.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_escaped() {
        let page = Page {
            title: "a <b>".into(),
            summary: "s".into(),
            facts: vec![("best".into(), "0.9".into())],
            plots: vec!["<svg></svg>".into()],
            config: vec![("lr".into(), "1e-4 & more".into())],
        };
        let text = render(&page);
        assert!(text.starts_with("<!doctype html>") && text.ends_with("</html>\n"));
        assert!(
            text.contains("a &lt;b&gt;")
                && text.contains("<svg></svg>")
                && text.contains("1e-4 &amp; more")
        );
        assert!(
            text.contains("prefers-color-scheme:dark") && !text.contains("http"),
            "one file that loads nothing"
        );
    }
}
