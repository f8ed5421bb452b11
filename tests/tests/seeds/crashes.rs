//! The controller dies at every write, or hears nothing of it: the end is the same.

use sluice_tests::invariants::view::differences;
use sluice_tests::seeds::crash::{Left, Mishap, Story, stories, tell};
use sluice_tests::seeds::in_virtual_time;

fn told(story: &Story, mishap: Option<Mishap>) -> Result<Left, String> {
    in_virtual_time(tell(story, mishap))
}

/// Tells `story` with every mishap of a kind, on all cores.
fn check(kind: fn(u64) -> Mishap) {
    let stories = stories();
    let mut problems: Vec<String> = Vec::new();
    std::thread::scope(|scope| {
        let tellers: Vec<_> = (0..2)
            .map(|half| {
                let stories = &stories;
                scope.spawn(move || {
                    let mut problems = Vec::new();
                    for story in stories.iter().skip(half).step_by(2) {
                        problems.extend(with_every_mishap(story, kind));
                    }
                    problems
                })
            })
            .collect();
        for teller in tellers {
            problems.extend(teller.join().expect("no panic"));
        }
    });
    assert!(
        problems.is_empty(),
        "{} problems, such as:\n{}",
        problems.len(),
        problems[..problems.len().min(4)].join("\n")
    );
}

fn with_every_mishap(story: &Story, kind: fn(u64) -> Mishap) -> Vec<String> {
    let plain = told(story, None).unwrap_or_else(|problem| panic!("{}: {problem}", story.name));
    assert!(plain.writes > 5, "{}: {} writes", story.name, plain.writes);
    let mut problems = Vec::new();
    for k in 0..=plain.writes {
        let mishap = kind(k);
        match told(story, Some(mishap)) {
            Ok(left) => {
                let found = differences(&plain.state, &left.state, &[]);
                if !found.is_empty() || left.created != plain.created {
                    problems.push(format!(
                        "{} {mishap:?}: {} created, {}",
                        story.name,
                        left.created,
                        found.join("; ")
                    ));
                }
            }
            Err(problem) => problems.push(format!("{} {mishap:?}: {problem}", story.name)),
        }
    }
    problems
}

#[test]
fn a_controller_that_dies_at_any_write_ends_the_same() {
    check(Mishap::Dies);
}

#[test]
fn a_write_whose_answer_is_lost_changes_nothing() {
    check(Mishap::AnswerLost);
}

#[test]
fn a_write_that_is_refused_is_made_up_for() {
    check(Mishap::Refused);
}
