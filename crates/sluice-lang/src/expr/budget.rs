//! How much work one evaluation may do.
//!
//! Whoever may write a template writes conditions, and a controller evaluates them for everybody. So work
//! and memory are counted, and what is too much is an error of that one measurement.

/// Most steps; a step is a node that is evaluated or an item that is looked at.
const MAX_STEPS: u64 = 5_000_000;
/// Most items and characters that are made, all together; the figure of the original.
const MAX_CELLS: u64 = 1_000_000;

/// What is left.
#[derive(Debug)]
pub struct Budget {
    steps: u64,
    cells: u64,
}

impl Budget {
    /// All of it.
    pub fn new() -> Self {
        Self { steps: MAX_STEPS, cells: MAX_CELLS }
    }

    /// Takes steps.
    pub fn take_steps(&mut self, count: usize) -> Result<(), &'static str> {
        match self.steps.checked_sub(count as u64) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => Err("expression does too much work"),
        }
    }

    /// Takes room for items or bytes, which also have to be written.
    pub fn take_cells(&mut self, count: usize) -> Result<(), &'static str> {
        match self.cells.checked_sub(count as u64) {
            Some(left) if left > 0 => {
                self.cells = left;
                Ok(())
            }
            _ => Err("memory budget exceeded"),
        }
    }

    /// Room that is left.
    pub fn cells_left(&self) -> usize {
        usize::try_from(self.cells).unwrap_or(usize::MAX)
    }

    /// Takes steps for reading a text.
    pub fn take_reading(&mut self, bytes: usize) -> Result<(), &'static str> {
        self.take_steps(bytes / 64)
    }
}
