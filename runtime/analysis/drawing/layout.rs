//! Where boxes and lines go: in columns from left to right, an importer left of what it imports. Pure
//! geometry; knows no components.
//!
//! A line that passes a column goes through a *bend* there. Lines to the same port share their bends:
//! they all arrive at one place, so nobody who follows one can end up elsewhere.

use std::collections::BTreeMap;

/// A box to be placed.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    pub width: f64,
    pub height: f64,
}

/// A line from the right side of one box to a port on the left side of another.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub from: usize,
    pub to: usize,
    pub port: usize,
    /// The port's distance from the top of the box.
    pub port_y: f64,
}

pub struct Layout {
    pub width: f64,
    pub height: f64,
    /// The left upper corner of each unit.
    pub units: Vec<(f64, f64)>,
    pub lines: Vec<Line>,
}

/// A piece of one or more links.
pub struct Line {
    pub start: (f64, f64),
    pub end: (f64, f64),
    /// Which links run along it.
    pub links: Vec<usize>,
}

const GAP_X: f64 = 72.0;
/// More room where more lines run.
const GAP_LINE: f64 = 2.0;
const GAP_LINES: f64 = 160.0;
const GAP_Y: f64 = 14.0;
const BEND_HEIGHT: f64 = 4.0;
/// More change nothing that is visible.
const SWEEPS: usize = 12;

pub fn lay_out(units: &[Unit], links: &[Link]) -> Layout {
    let mut net = Net::new(units, links);
    for sweep in 0..SWEEPS {
        net.order(sweep % 2 == 0);
    }
    net.stack();
    for sweep in 0..SWEEPS {
        net.straighten(sweep % 2 == 0);
    }
    net.finish(units, links)
}

/// A box, or a bend of lines that pass its column.
struct Item {
    column: usize,
    height: f64,
    y: f64,
}

/// A piece of a line between neighbouring columns, with where it leaves and arrives from the top of the
/// two items.
struct Piece {
    from: usize,
    to: usize,
    leaves: f64,
    arrives: f64,
    links: Vec<usize>,
}

struct Net {
    items: Vec<Item>,
    /// The items of each column from top to bottom.
    columns: Vec<Vec<usize>>,
    pieces: Vec<Piece>,
    /// Links that go back to an earlier column: what imports each other in a circle.
    back: Vec<usize>,
}

impl Net {
    fn new(units: &[Unit], links: &[Link]) -> Self {
        let column = columns(units.len(), links);
        let mut items: Vec<Item> = units
            .iter()
            .zip(&column)
            .map(|(unit, column)| Item {
                column: *column,
                height: unit.height,
                y: 0.0,
            })
            .collect();
        let mut bends: BTreeMap<(usize, usize, usize), usize> = BTreeMap::new();
        let mut pieces: BTreeMap<(usize, usize, usize), Piece> = BTreeMap::new();
        let mut back = Vec::new();
        for (number, link) in links.iter().enumerate() {
            if column[link.from] >= column[link.to] {
                back.push(number);
                continue;
            }
            let mut from = link.from;
            for at in column[link.from] + 1..=column[link.to] {
                let to = if at == column[link.to] {
                    link.to
                } else {
                    *bends.entry((link.to, link.port, at)).or_insert_with(|| {
                        items.push(Item {
                            column: at,
                            height: BEND_HEIGHT,
                            y: 0.0,
                        });
                        items.len() - 1
                    })
                };
                let piece = pieces.entry((from, to, link.port)).or_insert_with(|| Piece {
                    from,
                    to,
                    leaves: items[from].height / 2.0,
                    arrives: if to == link.to {
                        link.port_y
                    } else {
                        BEND_HEIGHT / 2.0
                    },
                    links: Vec::new(),
                });
                piece.links.push(number);
                from = to;
            }
        }
        let count = items.iter().map(|item| item.column + 1).max().unwrap_or_default();
        let mut columns = vec![Vec::new(); count];
        for (number, item) in items.iter().enumerate() {
            columns[item.column].push(number);
        }
        Self {
            items,
            columns,
            pieces: pieces.into_values().collect(),
            back,
        }
    }

    /// Orders each column by the middle of its neighbours in the column before or after it, which takes
    /// out most crossings.
    fn order(&mut self, forward: bool) {
        let mut rank = vec![0.0; self.items.len()];
        for column in self.sequence(forward) {
            let mut middle: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
            for piece in &self.pieces {
                let (near, far, port) = if forward {
                    (piece.to, piece.from, 0.0)
                } else {
                    (piece.from, piece.to, piece.arrives)
                };
                if self.items[near].column == column {
                    let (sum, count) = middle.entry(near).or_default();
                    // Ports of one box count in their order.
                    *sum += rank[far] + port / (self.items[far].height + 1.0);
                    *count += 1.0;
                }
            }
            let mut keyed: Vec<(f64, usize)> = self.columns[column]
                .iter()
                .enumerate()
                .map(|(place, item)| {
                    let key = middle.get(item).map_or(place as f64, |(sum, count)| sum / count);
                    (key, *item)
                })
                .collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            self.columns[column] = keyed.into_iter().map(|(_, item)| item).collect();
            for (place, item) in self.columns[column].iter().enumerate() {
                rank[*item] = place as f64;
            }
        }
    }

    fn sequence(&self, forward: bool) -> Vec<usize> {
        let columns = 0..self.columns.len();
        if forward {
            columns.collect()
        } else {
            columns.rev().collect()
        }
    }

    fn stack(&mut self) {
        for column in &self.columns {
            let mut y = 0.0;
            for item in column {
                self.items[*item].y = y;
                y += self.items[*item].height + GAP_Y;
            }
        }
    }

    /// Moves each item to where its lines run straight, as far as the order and the gaps allow.
    fn straighten(&mut self, forward: bool) {
        for column in self.sequence(forward) {
            let mut wanted: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
            for piece in &self.pieces {
                let (start, end) = (
                    self.items[piece.from].y + piece.leaves,
                    self.items[piece.to].y + piece.arrives,
                );
                let (near, y) = if forward {
                    (piece.to, start - piece.arrives)
                } else {
                    (piece.from, end - piece.leaves)
                };
                if self.items[near].column == column {
                    let (sum, count) = wanted.entry(near).or_default();
                    *sum += y;
                    *count += 1.0;
                }
            }
            let goals = self.columns[column].iter().map(|item| {
                let wanted = wanted.get(item).map(|(sum, count)| sum / count);
                (wanted.unwrap_or(self.items[*item].y), self.items[*item].height)
            });
            let places = place(&goals.collect::<Vec<_>>());
            for (item, y) in self.columns[column].iter().zip(places) {
                self.items[*item].y = y;
            }
        }
    }

    /// The room between a column and the next.
    fn gap(&self, column: usize) -> f64 {
        let lines = self
            .pieces
            .iter()
            .filter(|piece| self.items[piece.from].column == column);
        GAP_X + (lines.count() as f64 * GAP_LINE).min(GAP_LINES)
    }

    fn finish(self, units: &[Unit], links: &[Link]) -> Layout {
        let mut left = Vec::new();
        let mut x = 0.0;
        let widths = self.columns.iter().map(|column| {
            let widths = column
                .iter()
                .filter_map(|item| units.get(*item))
                .map(|unit| unit.width);
            widths.fold(0.0, f64::max)
        });
        let widths: Vec<f64> = widths.collect();
        for (column, width) in widths.iter().enumerate() {
            left.push(x);
            x += width + self.gap(column);
        }
        let all = left
            .last()
            .zip(widths.last())
            .map_or(0.0, |(left, width)| left + width);
        let top = self.items.iter().map(|item| item.y).fold(f64::INFINITY, f64::min);
        let bottom = self
            .items
            .iter()
            .map(|item| item.y + item.height)
            .fold(0.0, f64::max);
        let top = if top.is_finite() { top } else { 0.0 };
        let place = |item: usize| (left[self.items[item].column], self.items[item].y - top);
        let right = |item: usize| {
            let width = units
                .get(item)
                .map_or(widths[self.items[item].column], |unit| unit.width);
            place(item).0 + width
        };
        let mut lines: Vec<Line> = Vec::new();
        lines.extend(self.pieces.iter().map(|piece| Line {
            start: (right(piece.from), place(piece.from).1 + piece.leaves),
            end: (place(piece.to).0, place(piece.to).1 + piece.arrives),
            links: piece.links.clone(),
        }));
        for item in units.len()..self.items.len() {
            let y = place(item).1 + BEND_HEIGHT / 2.0;
            let through = self.pieces.iter().filter(|piece| piece.to == item);
            lines.push(Line {
                start: (place(item).0, y),
                end: (right(item), y),
                links: through.flat_map(|piece| piece.links.iter().copied()).collect(),
            });
        }
        lines.extend(self.back.iter().map(|number| {
            let Link { from, to, port_y, .. } = links[*number];
            Line {
                start: (right(from), place(from).1 + units[from].height / 2.0),
                end: (place(to).0, place(to).1 + port_y),
                links: vec![*number],
            }
        }));
        Layout {
            width: all,
            height: (bottom - top).max(0.0),
            units: (0..units.len()).map(place).collect(),
            lines,
        }
    }
}

/// The column of each unit: one further right than all that import it. A link that would close a circle
/// does not count.
fn columns(units: usize, links: &[Link]) -> Vec<usize> {
    let mut column = vec![0; units];
    // Without a circle no column is moved more often than there are units.
    for _ in 0..units {
        let mut moved = false;
        for link in links {
            if link.from != link.to && column[link.to] <= column[link.from] && column[link.from] + 1 < units {
                column[link.to] = column[link.from] + 1;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    // What a circle has pushed far right comes back, so that no column is empty.
    let mut used: Vec<usize> = column.clone();
    used.sort_unstable();
    used.dedup();
    column
        .into_iter()
        .map(|place| used.binary_search(&place).unwrap_or_default())
        .collect()
}

/// The places nearest to the goals, in their order and without overlap: the goals less the room before
/// each must not fall, and where they do, neighbours share their mean.
fn place(goals: &[(f64, f64)]) -> Vec<f64> {
    let mut room = 0.0;
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for (goal, height) in goals {
        blocks.push((goal - room, 1));
        room += height + GAP_Y;
        while let [.., (before, many), (last, few)] = blocks.as_slice()
            && before > last
        {
            let count = many + few;
            let mean = (before * *many as f64 + last * *few as f64) / count as f64;
            blocks.truncate(blocks.len() - 2);
            blocks.push((mean, count));
        }
    }
    let means = blocks
        .into_iter()
        .flat_map(|(mean, count)| std::iter::repeat_n(mean, count));
    let mut room = 0.0;
    means
        .zip(goals)
        .map(|(mean, (_, height))| {
            let y = mean + room;
            room += height + GAP_Y;
            y
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(from: usize, to: usize) -> Link {
        Link {
            from,
            to,
            port: 0,
            port_y: 10.0,
        }
    }

    #[test]
    fn importers_stand_left_of_what_they_import() {
        let links = [link(0, 1), link(1, 2), link(0, 2), link(3, 2)];
        assert_eq!(columns(4, &links), [0, 1, 2, 0]);
        assert_eq!(columns(0, &[]), [0; 0]);
    }

    #[test]
    fn a_circle_ends() {
        let circle = [link(0, 1), link(1, 0)];
        let unit = Unit {
            width: 10.0,
            height: 20.0,
        };
        let layout = lay_out(&[unit, unit], &circle);
        assert_eq!(layout.lines.len(), 2);
    }

    #[test]
    fn boxes_do_not_overlap() {
        let places = place(&[(5.0, 10.0), (5.0, 10.0), (100.0, 10.0)]);
        assert_eq!(places, [-7.0, 17.0, 100.0]);
    }
}
