//! Visits every state that a model can reach, and then asks whether each of them ends well.
//!
//! Safety: breadth first, so that the path shown to a violated invariant is a shortest one. Liveness: in
//! each fair world (no pod is lost, nobody intervenes, everything that can happen does happen in the
//! end) there must be no cycle, and a state without a way on must be one that may be an end.

use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Who gets its pods in a fair world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fair {
    /// Every version.
    All,
    /// Only the stable version.
    OnlyStable,
    /// Every version but the stable one.
    OnlyOthers,
}

impl Fair {
    const WORLDS: [Fair; 3] = [Fair::All, Fair::OnlyStable, Fair::OnlyOthers];

    fn bit(self) -> u32 {
        match self {
            Fair::All => 1,
            Fair::OnlyStable => 2,
            Fair::OnlyOthers => 4,
        }
    }
}

/// The worlds in which a transition happens by itself sooner or later.
pub(super) mod happens {
    /// Losses and people: in none.
    pub const NEVER: u32 = 0;
    /// What only takes time: in all.
    pub const ALWAYS: u32 = 7;
    /// A pod of the stable version gets ready.
    pub const FOR_STABLE: u32 = 3;
    /// A pod of another version gets ready.
    pub const FOR_OTHERS: u32 = 5;
}

/// One step from a state to another.
pub(super) struct Transition<S, L> {
    pub to: S,
    pub label: L,
    pub happens: u32,
}

/// Something that can be explored.
pub(super) trait Model {
    type State: Copy + Eq + Hash + Debug;
    type Label: Copy;

    fn name(&self) -> &'static str;
    fn initial(&self) -> Self::State;
    /// Adds every transition out of `state`. An error is a violated invariant.
    fn transitions(
        &self,
        state: &Self::State,
        out: &mut Vec<Transition<Self::State, Self::Label>>,
    ) -> Result<(), String>;
    /// Whether a state from which nothing happens by itself may be an end.
    fn may_end(&self, state: &Self::State, fair: Fair) -> Result<(), String>;
    fn describe(&self, from: &Self::State, label: Self::Label) -> String;
}

/// What was visited.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub states: usize,
    pub edges: usize,
    pub ends: usize,
    /// The most transitions that a fair world may take from anywhere to its end.
    pub longest_way: u32,
}

/// Explores `model`; an error tells what is wrong and how to get there.
pub(super) fn explore<M: Model>(model: &M, max_states: usize) -> Result<Figures, String> {
    let mut graph = Graph::new(model);
    graph.visit_all(max_states)?;
    for fair in Fair::WORLDS {
        graph.check_ends(fair)?;
    }
    Ok(graph.figures)
}

/// A fast hash for small keys; nobody chooses them to collide.
#[derive(Default)]
struct QuickHasher(u64);

impl QuickHasher {
    fn mix(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for QuickHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.mix(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }
}

struct Graph<'a, M: Model> {
    model: &'a M,
    ids: HashMap<M::State, u32, BuildHasherDefault<QuickHasher>>,
    states: Vec<M::State>,
    parents: Vec<u32>,
    /// The transitions that happen by themselves, by state: target and worlds in one number.
    ways: Vec<u32>,
    /// Where the ways of each state begin.
    starts: Vec<usize>,
    figures: Figures,
}

const NO_PARENT: u32 = u32::MAX;

impl<'a, M: Model> Graph<'a, M> {
    fn new(model: &'a M) -> Graph<'a, M> {
        let initial = model.initial();
        Graph {
            model,
            ids: [(initial, 0)].into_iter().collect(),
            states: vec![initial],
            parents: vec![NO_PARENT],
            ways: Vec::new(),
            starts: vec![0],
            figures: Figures::default(),
        }
    }

    fn visit_all(&mut self, max_states: usize) -> Result<(), String> {
        let mut out = Vec::new();
        let mut index = 0;
        while index < self.states.len() {
            let state = self.states[index];
            let from = u32::try_from(index).expect("fewer states than that");
            self.model
                .transitions(&state, &mut out)
                .map_err(|error| format!("{error}\n{}", self.path_to(from)))?;
            for transition in out.drain(..) {
                self.figures.edges += 1;
                let next = u32::try_from(self.states.len()).expect("fewer states than that");
                let target = *self.ids.entry(transition.to).or_insert(next);
                if target == next {
                    self.states.push(transition.to);
                    self.parents.push(from);
                }
                if transition.happens != happens::NEVER {
                    self.ways.push(target << 3 | transition.happens);
                }
            }
            self.starts.push(self.ways.len());
            if self.states.len() > max_states {
                return Err(format!("more than {max_states} states"));
            }
            index += 1;
        }
        self.figures.states = self.states.len();
        Ok(())
    }

    /// Depth first through what happens by itself.
    fn check_ends(&mut self, fair: Fair) -> Result<(), String> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.states.len()];
        let mut distance = vec![0u32; self.states.len()];
        let mut stack: Vec<(usize, usize)> = Vec::new();
        for root in 0..self.states.len() {
            if marks[root] != Mark::New {
                continue;
            }
            marks[root] = Mark::Open;
            stack.push((root, self.starts[root]));
            while let Some((state, next)) = stack.last_mut() {
                let state = *state;
                let ways = &self.ways[*next..self.starts[state + 1]];
                let Some(skipped) = ways.iter().position(|way| way & fair.bit() != 0) else {
                    if distance[state] == 0 {
                        self.figures.ends += 1;
                        self.model
                            .may_end(&self.states[state], fair)
                            .map_err(|error| format!("{fair:?}: {error}\n{}", self.path_to(state as u32)))?;
                    }
                    marks[state] = Mark::Done;
                    stack.pop();
                    if let Some((parent, _)) = stack.last() {
                        distance[*parent] = distance[*parent].max(distance[state] + 1);
                    }
                    continue;
                };
                let target = (ways[skipped] >> 3) as usize;
                *next += skipped + 1;
                match marks[target] {
                    Mark::New => {
                        marks[target] = Mark::Open;
                        stack.push((target, self.starts[target]));
                    }
                    Mark::Open => return Err(self.cycle(fair, &stack, target)),
                    Mark::Done => distance[state] = distance[state].max(distance[target] + 1),
                }
            }
        }
        let longest = distance.iter().max().copied().unwrap_or(0);
        self.figures.longest_way = self.figures.longest_way.max(longest);
        Ok(())
    }

    fn cycle(&self, fair: Fair, stack: &[(usize, usize)], target: usize) -> String {
        let mut text = format!("{fair:?}: goes round for ever\n");
        for (state, _) in stack.iter().skip_while(|(state, _)| *state != target) {
            let _ = writeln!(text, "   {:?}", self.states[*state]);
        }
        text + &self.path_to(target as u32)
    }

    fn path_to(&self, end: u32) -> String {
        let mut path = vec![end];
        while let Some(last) = path.last()
            && self.parents[*last as usize] != NO_PARENT
        {
            path.push(self.parents[*last as usize]);
        }
        path.reverse();
        let mut text = format!("  start {:?}\n", self.states[0]);
        let mut out = Vec::new();
        for pair in path.windows(2) {
            let (from, to) = (&self.states[pair[0] as usize], &self.states[pair[1] as usize]);
            out.clear();
            let _ = self.model.transitions(from, &mut out);
            let label = out.iter().find(|transition| transition.to == *to);
            let label =
                label.map_or_else(String::new, |transition| self.model.describe(from, transition.label));
            let _ = writeln!(text, "  -> {label}\n     {to:?}");
        }
        text
    }
}
