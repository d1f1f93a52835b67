//! Trees of tasks, and how far they have got.

use super::{a_child, a_task, task_id, with_tasks};
use crate::ErrorKind;
use crate::conformance::workflow_states::{an_execution, exec_id};
use crate::conformance::{World, cases, refused};
use crate::contract::*;

cases![
    a_tree_comes_level_by_level,
    a_tree_ends_at_its_depth_and_says_so,
    a_tree_of_a_hundred_levels_is_complete,
    progress_counts_every_status,
    progress_of_nothing_is_zero,
];

fn places(tree: &TaskTree) -> Vec<(u32, &str)> {
    let tasks = tree.tasks.iter();
    tasks
        .map(|node| (node.depth, node.task.task_exec_id.as_str()))
        .collect()
}

async fn a_tree_comes_level_by_level<W: World>(store: W) {
    with_tasks(
        &store,
        [
            a_task("root", "e1"),
            a_child("z", "root"),
            a_child("zz", "z"),
            a_child("a", "root"),
            a_child("aa", "a"),
            a_task("other", "e1"),
            a_child("child of other", "other"),
        ],
    )
    .await;
    let tree = store.task_states().tree(&task_id("root"), 10).await.unwrap();
    assert_eq!(places(&tree), [(0, "root"), (1, "z"), (1, "a"), (2, "zz"), (2, "aa")]);
    assert!(!tree.goes_deeper);
    assert_eq!(
        tree.tasks[1].task,
        store.task_states().get(&task_id("z")).await.unwrap().unwrap()
    );
    let below = store.task_states().tree(&task_id("a"), 10).await.unwrap();
    assert_eq!(places(&below), [(0, "a"), (1, "aa")]);
    let nothing = store.task_states().tree(&task_id("nobody"), 10).await.unwrap();
    assert_eq!(nothing, TaskTree::default());
}

async fn a_tree_ends_at_its_depth_and_says_so<W: World>(store: W) {
    with_tasks(&store, [a_task("root", "e1"), a_child("a", "root"), a_child("b", "a")]).await;
    for (depth, expected, deeper) in [
        (0, vec![(0, "root")], true),
        (1, vec![(0, "root"), (1, "a")], true),
        (2, vec![(0, "root"), (1, "a"), (2, "b")], false),
        (TaskTree::MAX_DEPTH, vec![(0, "root"), (1, "a"), (2, "b")], false),
    ] {
        let tree = store.task_states().tree(&task_id("root"), depth).await.unwrap();
        assert_eq!((places(&tree), tree.goes_deeper), (expected, deeper), "depth {depth}");
    }
    let outcome = store
        .task_states()
        .tree(&task_id("root"), TaskTree::MAX_DEPTH + 1)
        .await;
    let error = refused(outcome, ErrorKind::InvalidInput, None);
    assert!(error.to_string().contains("depth"), "{error}");
}

async fn a_tree_of_a_hundred_levels_is_complete<W: World>(store: W) {
    store.workflow_states().upsert(an_execution("e1")).await.unwrap();
    for level in 0..=101 {
        let task = match level {
            0 => a_task("0", "e1"),
            _ => a_child(&level.to_string(), &(level - 1).to_string()),
        };
        store.task_states().upsert(task).await.unwrap();
    }
    let tree = store.task_states().tree(&task_id("0"), 100).await.unwrap();
    assert!(tree.goes_deeper);
    let levels: Vec<_> = tree.tasks.iter().map(|node| node.depth).collect();
    assert_eq!(levels, (0..=100).collect::<Vec<_>>());
    let tree = store.task_states().tree(&task_id("1"), 100).await.unwrap();
    assert_eq!((tree.tasks.len(), tree.goes_deeper), (101, false));
}

async fn progress_counts_every_status<W: World>(store: W) {
    store.workflow_states().upsert(an_execution("e1")).await.unwrap();
    store.task_states().upsert(a_task("root", "e1")).await.unwrap();
    for (at, word) in ExecutionStatus::WORDS.iter().enumerate() {
        for n in 0..=at {
            let child = NewTaskState {
                status: word.parse().unwrap(),
                ..a_child(&format!("{word}-{n}"), "root")
            };
            store.task_states().upsert(child).await.unwrap();
        }
    }
    let children = TaskGroup::ChildrenOf(task_id("root"));
    let progress = store.task_states().progress(children).await.unwrap();
    let expected = Progress {
        pending: 1,
        running: 2,
        waiting: 3,
        paused: 4,
        success: 5,
        failed: 6,
        canceled: 7,
        timed_out: 8,
    };
    assert_eq!(progress, expected);
    assert_eq!(
        (progress.total(), progress.unfinished(), progress.failures()),
        (36, 10, 21)
    );
    assert!((progress.completion_rate() - 5.0 / 36.0).abs() < 1e-12);
    assert!((progress.failure_rate() - 21.0 / 36.0).abs() < 1e-12);
    let everything = TaskGroup::InWorkflow(exec_id("e1"));
    let progress = store.task_states().progress(everything).await.unwrap();
    assert_eq!(progress, Progress { running: 3, ..expected });
}

async fn progress_of_nothing_is_zero<W: World>(store: W) {
    for group in [
        TaskGroup::ChildrenOf(task_id("nobody")),
        TaskGroup::InWorkflow(exec_id("nowhere")),
    ] {
        let progress = store.task_states().progress(group).await.unwrap();
        assert_eq!(progress, Progress::default());
        assert!(progress.completion_rate().abs() + progress.failure_rate().abs() < f64::EPSILON);
    }
}
