//! Columns aligned as Go's `text/tabwriter` aligns them.
//!
//! Standard: <https://pkg.go.dev/text/tabwriter>. A cell is text that a tab ends; cells of one column in
//! neighbouring lines share a width; the text after a line's last tab belongs to no column.

/// Narrowest cell and the space after the widest text.
pub struct Layout {
    pub min_width: usize,
    pub padding: usize,
}

/// Docker's listings.
pub const LISTING: Layout = Layout { min_width: 10, padding: 3 };
/// `top`.
pub const TOP: Layout = Layout { min_width: 20, padding: 3 };
/// `version`.
pub const FACTS: Layout = Layout { min_width: 20, padding: 1 };

/// Aligns the tab-separated cells of `text`.
pub fn align(text: &str, layout: &Layout) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len()]).collect();
    let most = lines.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..most.saturating_sub(1) {
        let in_column = |line: usize| lines.get(line).is_some_and(|cells| column + 1 < cells.len());
        let mut start = 0;
        while start < lines.len() {
            if !in_column(start) {
                start += 1;
                continue;
            }
            let mut end = start;
            while in_column(end) {
                end += 1;
            }
            let widest = lines[start..end].iter().map(|cells| width(cells[column]) + layout.padding).max();
            let chosen = widest.unwrap_or(0).max(layout.min_width);
            for line in &mut widths[start..end] {
                line[column] = chosen;
            }
            start = end;
        }
    }
    let mut out = String::with_capacity(text.len() * 2);
    for (index, (cells, widths)) in lines.iter().zip(&widths).enumerate() {
        if index > 0 {
            out.push('\n');
        }
        for (column, cell) in cells.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < cells.len() {
                out.extend(std::iter::repeat_n(' ', widths[column].saturating_sub(width(cell))));
            }
        }
    }
    out
}

/// Columns of a text on a terminal: wide East Asian characters and emoji count two, colors none.
pub fn width(text: &str) -> usize {
    let mut escaped = false;
    let mut columns = 0;
    for c in text.chars() {
        match c {
            '\x1b' => escaped = true,
            'm' if escaped => escaped = false,
            _ if escaped => {}
            c => columns += if is_wide(c) { 2 } else { 1 },
        }
    }
    columns
}

/// At most `columns` characters; the last one becomes an ellipsis when something is cut.
pub fn clip(text: &str, columns: usize) -> String {
    if text.chars().count() < columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
    format!("{kept}…")
}

fn is_wide(c: char) -> bool {
    matches!(c as u32,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f
        | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1f64f | 0x1f900..=0x1f9ff | 0x20000..=0x3fffd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_share_a_width_in_neighbouring_lines() {
        let text = "CONTAINER ID\tNAMES\tx\nabc\ta\t\nno tabs here\nab\tb\n";
        assert_eq!(
            align(text, &LISTING),
            "CONTAINER ID   NAMES     x\nabc            a         \nno tabs here\nab        b\n"
        );
        assert_eq!(align("UID\tPID\n1\t2\n", &TOP), "UID                 PID\n1                   2\n");
    }
}
