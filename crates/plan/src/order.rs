//! The order of a graph of needs, and its cycles.
//!
//! Knows nodes only as numbers. The caller knows their names.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use petgraph::{algo::kosaraju_scc, graph::DiGraph};

/// Returns the nodes in an order in which each node follows all its needs. Among nodes that may
/// come next, the least one comes first. Returns `None` for a cycle.
pub(crate) fn topological(needs: &[Vec<u32>]) -> Option<Vec<u32>> {
    let mut dependents: Vec<Vec<u32>> = vec![Vec::new(); needs.len()];
    let mut missing: Vec<usize> = Vec::with_capacity(needs.len());
    for (node, wanted) in needs.iter().enumerate() {
        missing.push(wanted.len());
        wanted
            .iter()
            .for_each(|need| dependents[*need as usize].push(node as u32));
    }
    let mut ready: BinaryHeap<Reverse<u32>> = missing
        .iter()
        .enumerate()
        .filter(|(_, count)| **count == 0)
        .map(|(node, _)| Reverse(node as u32))
        .collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(Reverse(node)) = ready.pop() {
        order.push(node);
        for &dependent in &dependents[node as usize] {
            missing[dependent as usize] -= 1;
            if missing[dependent as usize] == 0 {
                ready.push(Reverse(dependent));
            }
        }
    }
    (order.len() == needs.len()).then_some(order)
}

/// Returns one cycle for every strongly connected component: the shortest cycle through the
/// component's least node. `needs[n]` are the nodes that `n` needs. Each node of a cycle needs the
/// next one, and the last node needs the first. A node that needs itself is a cycle of one. The
/// cycles are sorted by their least nodes.
pub(crate) fn cycles(needs: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let edges: usize = needs.iter().map(Vec::len).sum();
    let mut graph = DiGraph::<(), (), u32>::with_capacity(needs.len(), edges);
    for _ in needs {
        graph.add_node(());
    }
    for (node, wanted) in needs.iter().enumerate() {
        for need in wanted {
            graph.add_edge((node as u32).into(), (*need).into(), ());
        }
    }
    let mut found: Vec<Vec<u32>> = kosaraju_scc(&graph)
        .into_iter()
        .filter_map(|knot| {
            let start = knot.iter().map(|node| node.index() as u32).min()?;
            (knot.len() > 1 || needs[start as usize].contains(&start))
                .then(|| shortest(needs, start))
        })
        .collect();
    found.sort();
    found
}

/// Returns the shortest way from `start` back to itself. The caller guarantees that there is one.
fn shortest(needs: &[Vec<u32>], start: u32) -> Vec<u32> {
    let mut came_from = vec![u32::MAX; needs.len()];
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for &need in &needs[node as usize] {
            if need == start {
                let mut cycle = vec![node];
                while cycle.last() != Some(&start) {
                    cycle.push(came_from[cycle[cycle.len() - 1] as usize]);
                }
                cycle.reverse();
                return cycle;
            }
            if came_from[need as usize] == u32::MAX {
                came_from[need as usize] = node;
                queue.push_back(need);
            }
        }
    }
    unreachable!("invariant: a node of a knot has a way back to itself")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_without_cycles_has_none() {
        assert!(cycles(&[]).is_empty());
        assert!(cycles(&[vec![], vec![0], vec![0], vec![1, 2]]).is_empty());
    }

    #[test]
    fn every_component_shows_its_shortest_cycle_in_the_direction_of_needs() {
        // 0 -> 1 -> 2 -> 0 with a detour 1 -> 3 -> 2. 4 needs itself.
        // 5 needs 0 and 4, but is in no cycle.
        let needs = [vec![1], vec![3, 2], vec![0], vec![2], vec![4], vec![0, 4]];
        assert_eq!(cycles(&needs), [vec![0, 1, 2], vec![4]]);
    }

    #[test]
    fn a_cycle_of_a_hundred_thousand_does_not_exhaust_the_stack() {
        let count = 100_000;
        let needs: Vec<_> = (0..count).map(|n| vec![(n + 1) % count]).collect();
        assert_eq!(cycles(&needs)[0].len(), count as usize);
    }
}
