//! Many processes use one directory at once.

use super::*;

/// Two processes put the first object of every shard at the same moment, so that both want to make
/// each directory. Neither may fail, and each object is of one of the two.
#[test]
fn two_processes_make_the_same_directories_at_once() {
    let dir = TestDir::new();
    let mut helpers = [Helper::start("store", dir.path()), Helper::start("store", dir.path())];
    for helper in &mut helpers {
        assert_eq!(helper.hear(), "ready");
    }
    for (helper, worker) in helpers.iter_mut().zip(["one", "two"]) {
        helper.tell(&format!("fill 5 {worker}"));
    }
    for helper in &mut helpers {
        assert_eq!(helper.hear(), "done");
    }
    let store = open(dir.path());
    assert_eq!(scanned(&store).len(), 256);
    for shard in 0..=255 {
        let bytes = get(&store, &named(&store, digest(shard, 5))).unwrap();
        assert!(bytes == b"one" || bytes == b"two");
    }
    helpers.into_iter().for_each(Helper::finish);
}

/// A server with few descriptors to spare opens the store and works. What stays open is a
/// small number, however many shards were touched.
#[test]
fn descriptors_do_not_grow_with_use() {
    fn descriptors_below(path: &Path) -> usize {
        std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
            .filter(|target| target.starts_with(path))
            .count()
    }
    let dir = TestDir::new();
    let store = open(dir.path());
    let before = descriptors_below(dir.path());
    assert!(before <= 6, "{before}");
    for shard in 0..=255 {
        let name = named(&store, digest(shard, 1));
        put(&store, &name, b"bytes");
        get(&store, &name).unwrap();
        store.stat(&name).unwrap();
        store.pin(store.id_of(&name)).unwrap();
    }
    scanned(&store);
    assert_eq!(descriptors_below(dir.path()), before);
    let (file, _) = store.open_read(&named(&store, digest(0, 1))).unwrap().unwrap();
    assert_eq!(descriptors_below(dir.path()), before + 1);
    drop((file, store));
    assert_eq!(descriptors_below(dir.path()), 0);
}
