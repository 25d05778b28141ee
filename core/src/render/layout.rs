//! Where boxes and arrows go: layers from left to right, after Sugiyama, Tagawa and Toda (1981).
//!
//! A box lies one layer right of all it reads from. Arrows that cross layers pass through points between the boxes there.
//! Sweeps order each layer by the mean place of its neighbours; then boxes move towards theirs as far as there is room.

use super::{Drawing, Role};

/// Height of a line of text.
pub(super) const LINE: f64 = 16.0;
/// Height of the name and the lines below it, without the lines.
pub(super) const HEAD: f64 = 26.0;
/// Width of a letter, on average.
const LETTER: f64 = 6.6;
/// Free space between layers and between boxes of a layer.
const GAP_X: f64 = 64.0;
const GAP_Y: f64 = 18.0;
/// Space around all.
pub(super) const MARGIN: f64 = 20.0;
/// Rounds of ordering and of moving; the picture no longer changes much after so many.
const ROUNDS: usize = 12;

/// A box with its corner.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// All boxes with their corners, and for each arrow the points it passes through.
pub(super) struct Placed {
    pub(super) boxes: Vec<Rect>,
    /// Start, then pairs of points left and right of the boxes of each layer between, then end.
    pub(super) paths: Vec<Vec<(f64, f64)>>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A box, or the place where an arrow crosses a layer.
struct Item {
    layer: usize,
    height: f64,
    y: f64,
    /// Neighbours in the layers left and right.
    left: Vec<usize>,
    right: Vec<usize>,
}

/// Height at which a port lies, below the top of its box.
fn port_y(drawing: &Drawing, block: usize, port: &str, output: bool) -> f64 {
    let block = &drawing.blocks[block];
    let ports = if output { &block.outputs } else { &block.inputs };
    let row = ports.iter().position(|known| known == port).unwrap_or_default();
    if block.role == Role::Stage {
        HEAD + LINE * (block.lines.len() as f64 + row as f64 + 0.5)
    } else {
        f64::midpoint(HEAD, LINE * block.lines.len() as f64) + 4.0
    }
}

/// Places everything.
pub(super) fn place(drawing: &Drawing) -> Placed {
    let layers = layers(drawing);
    let mut boxes: Vec<_> = (0..drawing.blocks.len()).map(|block| size(drawing, block)).collect();
    let item = |(block, rect): (usize, &Rect)| Item {
        layer: layers[block],
        height: rect.height,
        y: 0.0,
        left: Vec::new(),
        right: Vec::new(),
    };
    let mut items: Vec<Item> = boxes.iter().enumerate().map(item).collect();
    let mut crossings = Vec::new();
    for arrow in &drawing.arrows {
        let mut last = arrow.from;
        let mut passed = Vec::new();
        for layer in layers[arrow.from] + 1..layers[arrow.to] {
            items.push(Item { layer, height: 4.0, y: 0.0, left: Vec::new(), right: Vec::new() });
            let here = items.len() - 1;
            join(&mut items, last, here);
            last = here;
            passed.push(here);
        }
        join(&mut items, last, arrow.to);
        crossings.push(passed);
    }
    let mut order = vec![Vec::new(); layers.iter().max().map_or(0, |last| last + 1)];
    for (index, item) in items.iter().enumerate() {
        order[item.layer].push(index);
    }
    sort(&items, &mut order);
    settle(&mut items, &order);
    let columns = columns(&boxes, &layers, order.len());
    for (block, rect) in boxes.iter_mut().enumerate() {
        let (x, width) = columns[layers[block]];
        rect.y = items[block].y;
        rect.x = if drawing.blocks[block].role == Role::Input { x + width - rect.width } else { x };
    }
    let paths = drawing.arrows.iter().zip(&crossings).map(|(arrow, passed)| {
        let (from, to) = (&boxes[arrow.from], &boxes[arrow.to]);
        let mut path = vec![(from.x + from.width, from.y + port_y(drawing, arrow.from, &arrow.output, true))];
        for index in passed {
            let (x, width) = columns[items[*index].layer];
            path.extend([(x, items[*index].y + 2.0), (x + width, items[*index].y + 2.0)]);
        }
        path.push((to.x, to.y + port_y(drawing, arrow.to, &arrow.input, false)));
        path
    });
    let paths = paths.collect();
    let width = columns.last().map_or(0.0, |(x, width)| x + width) + MARGIN;
    let height = items.iter().map(|item| item.y + item.height).fold(0.0, f64::max) + MARGIN;
    Placed { boxes, paths, width, height }
}

fn join(items: &mut [Item], left: usize, right: usize) {
    items[left].right.push(right);
    items[right].left.push(left);
}

/// The layer of each box. Inputs lie just left of their first reader, outputs in the last layer.
fn layers(drawing: &Drawing) -> Vec<usize> {
    let mut layers = vec![0_usize; drawing.blocks.len()];
    // Stages come after those they read from, but for stages with `each`, whose nodes are apart: go on until it holds.
    for _ in 0..drawing.blocks.len() {
        let mut changed = false;
        for arrow in &drawing.arrows {
            let least = layers[arrow.from] + 1;
            if layers[arrow.to] < least && arrow.from != arrow.to {
                layers[arrow.to] = least;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    let last = layers.iter().copied().max().unwrap_or_default();
    for (block, what) in drawing.blocks.iter().enumerate() {
        let readers = drawing.arrows.iter().filter(|arrow| arrow.from == block).map(|arrow| layers[arrow.to]);
        match what.role {
            Role::Input => layers[block] = readers.min().map_or(0, |first| first.saturating_sub(1)),
            Role::Output => layers[block] = last,
            Role::Stage => {}
        }
    }
    layers
}

fn size(drawing: &Drawing, block: usize) -> Rect {
    let block = &drawing.blocks[block];
    let letters = |text: &String| text.chars().count() as f64 * LETTER;
    let longest = |texts: &[String]| texts.iter().map(letters).fold(0.0, f64::max);
    let (mut rows, mut ports) = (0, 0.0);
    if block.role == Role::Stage {
        rows = block.inputs.len().max(block.outputs.len());
        ports = longest(&block.inputs) + longest(&block.outputs) + 2.0 * LETTER;
    }
    let width = (letters(&block.name) * 1.15).max(longest(&block.lines)).max(ports) + 20.0;
    let height = HEAD + LINE * (block.lines.len() + rows) as f64 + 8.0;
    Rect { x: 0.0, y: 0.0, width, height }
}

/// Left edge and width of each layer.
fn columns(boxes: &[Rect], layers: &[usize], count: usize) -> Vec<(f64, f64)> {
    let mut x = MARGIN;
    let mut columns = Vec::new();
    for layer in 0..count {
        let here = boxes.iter().zip(layers).filter(|(_, own)| **own == layer);
        let width = here.map(|(rect, _)| rect.width).fold(0.0, f64::max);
        columns.push((x, width));
        x += width + GAP_X;
    }
    columns
}

/// Orders each layer by the mean place of its neighbours, to and fro.
fn sort(items: &[Item], order: &mut [Vec<usize>]) {
    for round in 0..ROUNDS {
        let forth = round % 2 == 0;
        let layers: Vec<usize> =
            if forth { (0..order.len()).collect() } else { (0..order.len()).rev().collect() };
        let mut place = vec![0.0; items.len()];
        for layer in layers {
            let mean = |index: usize, place: &[f64], own: usize| {
                let near = if forth { &items[index].left } else { &items[index].right };
                let sum: f64 = near.iter().map(|other| place[*other]).sum();
                if near.is_empty() { own as f64 } else { sum / near.len() as f64 }
            };
            let here = &mut order[layer];
            let mut keyed: Vec<_> =
                here.iter().enumerate().map(|(own, index)| (mean(*index, &place, own), *index)).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            *here = keyed.into_iter().map(|(_, index)| index).collect();
            for (own, index) in here.iter().enumerate() {
                place[*index] = own as f64;
            }
        }
    }
}

/// Stacks each layer, then moves its items towards their neighbours, in order and without overlap.
fn settle(items: &mut [Item], order: &[Vec<usize>]) {
    for layer in order {
        let mut y = MARGIN;
        for index in layer {
            items[*index].y = y;
            y += items[*index].height + GAP_Y;
        }
    }
    for _ in 0..ROUNDS {
        for layer in order {
            let wanted: Vec<f64> = layer.iter().map(|index| wanted(items, *index)).collect();
            stack(items, layer, &wanted);
        }
    }
    let top = items.iter().map(|item| item.y).fold(f64::INFINITY, f64::min);
    for item in items {
        item.y += MARGIN - top;
    }
}

/// Where an item would lie by its neighbours' middles.
fn wanted(items: &[Item], index: usize) -> f64 {
    let item = &items[index];
    let middle = |other: &usize| items[*other].y + items[*other].height / 2.0;
    let near: Vec<f64> = item.left.iter().chain(&item.right).map(middle).collect();
    if near.is_empty() {
        return item.y;
    }
    near.iter().sum::<f64>() / near.len() as f64 - item.height / 2.0
}

/// Puts a layer's items where they want to be, in order; those that would overlap share the way between them.
fn stack(items: &mut [Item], layer: &[usize], wanted: &[f64]) {
    // Blocks of items that touch: first item, number of items, place of the first, and its sum of wishes.
    let mut blocks: Vec<(usize, usize, f64)> = Vec::new();
    let offset = |from: usize, to: usize, items: &[Item]| {
        layer[from..to].iter().map(|index| items[*index].height + GAP_Y).sum::<f64>()
    };
    for (at, wish) in wanted.iter().enumerate() {
        blocks.push((at, 1, *wish));
        while let [.., (first, count, y), (next, more, wish)] = blocks[..] {
            let gap = offset(first, next, items);
            if y + gap <= wish {
                break;
            }
            let total = (count + more) as f64;
            let shared = (y * count as f64 + (wish - gap) * more as f64) / total;
            blocks.truncate(blocks.len() - 2);
            blocks.push((first, count + more, shared));
        }
    }
    for (first, count, y) in blocks {
        for at in first..first + count {
            items[layer[at]].y = y + offset(first, at, items);
        }
    }
}
