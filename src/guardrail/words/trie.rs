//! The words of all lists in one tree of characters.

use crate::limits;

/// What ends at a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Terminal {
    /// The custom word, by its place in the list, counted from 1; 0 for none.
    pub(super) custom: u32,
    pub(super) is_managed: bool,
    /// A phrase in which the words of the lists mean no harm.
    pub(super) is_innocent: bool,
}

impl Terminal {
    pub(super) fn is_word(self) -> bool {
        self.custom != 0 || self.is_managed
    }
}

pub(super) type Node = u32;
pub(super) const ROOT: Node = 0;

/// Edges live in one open-addressed table under a node and a character, so that a step is one
/// probe; the first step, which most positions of a text do not get beyond, is an array.
#[derive(Debug)]
pub(super) struct Trie {
    roots: Box<[Node; 128]>,
    /// Keys with their children; a key of 0 is free.
    edges: Vec<(u64, Node)>,
    num_edges: usize,
    terminals: Vec<Terminal>,
}

impl Trie {
    pub(super) fn new() -> Self {
        Self {
            roots: Box::new([ROOT; 128]),
            edges: vec![(0, ROOT); 64],
            num_edges: 0,
            terminals: vec![Terminal::default()],
        }
    }

    pub(super) fn insert(&mut self, word: &str) -> &mut Terminal {
        let mut node = ROOT;
        for character in word.chars() {
            node = match self.child(node, character) {
                Some(child) => child,
                None => self.add(node, character),
            };
        }
        &mut self.terminals[node as usize]
    }

    #[inline]
    pub(super) fn child(&self, node: Node, character: char) -> Option<Node> {
        if node == ROOT && (character as usize) < self.roots.len() {
            return Some(self.roots[character as usize]).filter(|child| *child != ROOT);
        }
        let key = key(node, character);
        let mut slot = self.slot(key);
        loop {
            match self.edges[slot] {
                (0, _) => return None,
                (found, child) if found == key => return Some(child),
                _ => slot = (slot + 1) & (self.edges.len() - 1),
            }
        }
    }

    #[inline]
    pub(super) fn terminal(&self, node: Node) -> Terminal {
        self.terminals[node as usize]
    }

    fn add(&mut self, node: Node, character: char) -> Node {
        let child = self.terminals.len() as Node;
        self.terminals.push(Terminal::default());
        if node == ROOT && (character as usize) < self.roots.len() {
            self.roots[character as usize] = child;
            return child;
        }
        if (self.num_edges + 1) * 2 > self.edges.len() {
            let grown = vec![(0, ROOT); self.edges.len() * 2];
            for (key, child) in std::mem::replace(&mut self.edges, grown) {
                if key != 0 {
                    self.place(key, child);
                }
            }
        }
        self.place(key(node, character), child);
        self.num_edges += 1;
        child
    }

    fn place(&mut self, key: u64, child: Node) {
        let mut slot = self.slot(key);
        while self.edges[slot].0 != 0 {
            slot = (slot + 1) & (self.edges.len() - 1);
        }
        self.edges[slot] = (key, child);
    }

    #[inline]
    fn slot(&self, key: u64) -> usize {
        let shift = u64::BITS - self.edges.len().trailing_zeros();
        (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> shift) as usize
    }
}

/// Never 0: no word holds a NUL, and a root's edge over other characters has them in its low bits.
fn key(node: Node, character: char) -> u64 {
    u64::from(node) << 21 | u64::from(character as u32)
}

// A node is at most a character of a word, and the key has 43 bits for it.
const _: () = assert!(
    (limits::GUARDRAIL_WORDS_MAX + limits::GUARDRAIL_MANAGED_WORDS_MAX)
        * limits::GUARDRAIL_WORD_CHARS_MAX
        * 18
        < u32::MAX as usize
);
