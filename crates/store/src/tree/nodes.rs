//! The end of a copy: its directories get their modes and times, and directories that were opened
//! for their owner are closed again. One walk visits each of them after those below it, and goes up
//! by `..`.

use std::{
    collections::HashMap,
    ffi::OsString,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::{
    fs::{self, OFlags, Timestamps},
    io::{Errno, Result},
};

use super::{
    level::{Id, id},
    open_in,
};

/// The directories that a copy met, each after the one it lies in; the first are the roots.
pub(super) struct Nodes(Mutex<Vec<Node>>);

/// A directory.
pub(super) struct Node {
    above: usize,
    name: OsString,
    /// Its mode and times in the copy.
    made: Option<(u32, Timestamps)>,
    /// Whether it was opened for its owner.
    is_unlocked: bool,
}

/// A directory that a walk is in or below.
struct Step {
    node: usize,
    id: Id,
    /// The next directory in it.
    next: usize,
}

/// Stands for no node.
const NONE: usize = usize::MAX;

impl Default for Nodes {
    fn default() -> Self {
        let root = Node {
            above: NONE,
            name: OsString::new(),
            made: None,
            is_unlocked: false,
        };
        Self(Mutex::new(vec![root]))
    }
}

impl Nodes {
    fn all(&self) -> MutexGuard<'_, Vec<Node>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a directory; `made` is the mode and time that it gets in the copy.
    pub fn add(&self, above: usize, name: OsString, made: Option<(u32, Timestamps)>) -> usize {
        let mut all = self.all();
        all.push(Node {
            above,
            name,
            made,
            is_unlocked: false,
        });
        all.len() - 1
    }

    /// Notes the mode and time that a directory gets in the copy.
    pub fn made(&self, node: usize, mode: u32, times: Timestamps) {
        self.all()[node].made = Some((mode, times));
    }

    /// Notes that a directory was opened for its owner.
    pub fn unlocked(&self, node: usize) {
        self.all()[node].is_unlocked = true;
    }

    /// Sets modes and times in the copy; `set` does so for one directory.
    ///
    /// # Errors
    /// Fails at the first where that fails, with its path.
    pub fn finish(
        &self,
        to: &OwnedFd,
        set: impl Fn(&OwnedFd, u32, &Timestamps) -> Result<()>,
    ) -> std::result::Result<(), (PathBuf, Errno)> {
        let all = self.all();
        let is_made = |node: &Node| node.made.is_some();
        let visited = visit(
            &all,
            to,
            OFlags::RDONLY,
            is_made,
            |directory, node| match &node.made {
                Some((mode, times)) => set(directory, *mode, times),
                None => Ok(()),
            },
        );
        visited.map_err(|(node, error)| (path(&all, node), error))
    }

    /// Gives back their modes to the directories that were opened for their owner, by which they
    /// are, as far as they are still there.
    pub fn lock_again(
        &self,
        from: &OwnedFd,
        modes: &HashMap<Id, u32>,
        set: impl Fn(&OwnedFd, u32) -> Result<()>,
    ) {
        if modes.is_empty() {
            return;
        }
        let all = self.all();
        let _ = visit(
            &all,
            from,
            OFlags::PATH,
            |node| node.is_unlocked,
            |directory, _| {
                // Something else may lie in its place by now.
                if let Some(mode) = modes.get(&id(&fs::fstat(directory)?)) {
                    let _ = set(directory, *mode);
                }
                Ok(())
            },
        );
    }
}

/// Visits the wanted directories, each after those in it. A directory that is gone is an error only
/// where it is to be read.
fn visit(
    nodes: &[Node],
    root: &OwnedFd,
    access: OFlags,
    is_wanted: impl Fn(&Node) -> bool,
    mut visitor: impl FnMut(&OwnedFd, &Node) -> Result<()>,
) -> std::result::Result<(), (usize, Errno)> {
    let mut wanted = vec![false; nodes.len()];
    let (mut first, mut next) = (vec![NONE; nodes.len()], vec![NONE; nodes.len()]);
    for number in (1..nodes.len()).rev() {
        wanted[number] |= is_wanted(&nodes[number]);
        if wanted[number] {
            let above = nodes[number].above;
            wanted[above] = true;
            next[number] = std::mem::replace(&mut first[above], number);
        }
    }
    let enter = |directory: &OwnedFd, number: usize| -> Result<(OwnedFd, Step)> {
        let open = open_in(directory, &nodes[number].name, access)?;
        let step = Step {
            node: number,
            id: id(&fs::fstat(&open)?),
            next: first[number],
        };
        Ok((open, step))
    };
    let failed = |node| move |error| (node, error);
    let mut current = open_in(root, ".".as_ref(), access).map_err(failed(0))?;
    let root_id = id(&fs::fstat(&current).map_err(failed(0))?);
    let mut steps = vec![Step {
        node: 0,
        id: root_id,
        next: first[0],
    }];
    while let Some(step) = steps.last_mut() {
        if step.next != NONE {
            let number = step.next;
            step.next = next[number];
            match enter(&current, number) {
                Ok((open, step)) => {
                    steps.push(step);
                    current = open;
                }
                Err(_) if access == OFlags::PATH => {}
                Err(error) => return Err((number, error)),
            }
            continue;
        }
        let node = step.node;
        steps.pop();
        // First up: the visitor may close the way.
        let above = steps
            .last()
            .map(|above| up(nodes, root, &current, access, &steps, above.id))
            .transpose()
            .map_err(failed(node))?;
        visitor(&current, &nodes[node]).map_err(failed(node))?;
        match above {
            Some(above) => current = above,
            None => break,
        }
    }
    Ok(())
}

/// Opens the directory that the walk came from: by `..`, or by the names that lead there, where it
/// was moved meanwhile.
fn up(
    nodes: &[Node],
    root: &OwnedFd,
    current: &OwnedFd,
    access: OFlags,
    steps: &[Step],
    expected: Id,
) -> Result<OwnedFd> {
    if let Ok(above) = open_in(current, "..".as_ref(), access)
        && id(&fs::fstat(&above)?) == expected
    {
        return Ok(above);
    }
    let mut open = open_in(root, ".".as_ref(), access)?;
    for step in &steps[1..] {
        open = open_in(&open, &nodes[step.node].name, access)?;
    }
    Ok(open)
}

/// Returns the path of a directory, relative to the roots.
fn path(nodes: &[Node], node: usize) -> PathBuf {
    let (mut names, mut at) = (Vec::new(), node);
    while nodes[at].above != NONE {
        names.push(&nodes[at].name);
        at = nodes[at].above;
    }
    names.into_iter().rev().collect()
}
