//! A doubly linked list through structures in shared memory.
//!
//! A pointer would mean something in one process only, so the links are indices. Everything that can be on a
//! list is in one slice, and each member contains its [`Links`] ([`Linked`]). So nothing is allocated, and a
//! member leaves its list in one step, wherever it is.
//!
//! With one pair of links, a member is on one list at a time; its owner knows on which. A structure that is on two
//! lists at a time has two pairs, and is [`Linked`] twice; the type of a list says through which pair it goes.
//! Each operation is given the slice, always the same one. Zeroed memory is an empty list.
//!
//! | operation | cost |
//! |---|---|
//! | [`push_front`](List::push_front), [`push_back`](List::push_back), [`remove`](List::remove), [`append`](List::append), [`clear`](List::clear), [`len`](List::len), [`first`](List::first), [`after`](List::after) | constant |
//! | [`iter`](List::iter) | constant for each member |
//!
//! The holder of a lock reads and changes lists. Only [`len`](List::len) and [`is_empty`](List::is_empty) may
//! be called without it, as a hint.

use crate::locked::{add, load, subtract};
use crate::sync::{AtomicU32, Ordering};
use std::marker::PhantomData;

/// Index + 1, so that zeroed memory means "none".
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Link(pub(crate) u32);

impl Link {
    /// Links to nothing.
    pub const NONE: Self = Self(0);

    /// Links to the member with this index.
    pub fn to(index: u32) -> Self {
        Self(index + 1)
    }

    /// The index, if it is a link to something.
    pub fn index(self) -> Option<u32> {
        self.0.checked_sub(1)
    }

    /// The link in shared memory.
    pub fn load(from: &AtomicU32) -> Self {
        Self(from.load(Ordering::Relaxed))
    }

    /// Writes it to shared memory.
    pub fn store(self, into: &AtomicU32) {
        into.store(self.0, Ordering::Relaxed);
    }
}

/// The links of a member. They mean nothing while it is on no list.
#[derive(Default)]
pub struct Links {
    /// While a structure is on no list, its owner may use it for another purpose, as the job table does.
    pub(crate) next: AtomicU32,
    prev: AtomicU32,
}

/// The pair of links of a structure that has one, or the first of two.
pub struct First;

/// The second pair of links of a structure that has two.
pub struct Second;

/// What can be on a list that goes through the pair of links `P`.
pub trait Linked<P = First> {
    /// Its links.
    fn links(&self) -> &Links;
}

/// The list, through the pair of links `P`. See the module documentation.
pub struct List<P = First> {
    first: AtomicU32,
    last: AtomicU32,
    len: AtomicU32,
    pair: PhantomData<fn() -> P>,
}

impl<P> Default for List<P> {
    fn default() -> Self {
        Self {
            first: AtomicU32::default(),
            last: AtomicU32::default(),
            len: AtomicU32::default(),
            pair: PhantomData,
        }
    }
}

impl<P> List<P> {
    /// How many members are on it.
    pub fn len(&self) -> u32 {
        load(&self.len)
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first member.
    pub fn first(&self) -> Option<u32> {
        Link::load(&self.first).index()
    }

    /// The member after one that is on this list.
    pub fn after<T: Linked<P>>(&self, members: &[T], index: u32) -> Option<u32> {
        Link::load(&members[index as usize].links().next).index()
    }

    /// From the first to the last. The member that was returned last may have left the list, or joined another.
    pub fn iter<'a, T: Linked<P>>(
        &self,
        members: &'a [T],
    ) -> impl Iterator<Item = u32> + use<'a, T, P> {
        let mut next = Link::load(&self.first);
        std::iter::from_fn(move || {
            let index = next.index()?;
            next = Link::load(&members[index as usize].links().next);
            Some(index)
        })
    }

    /// Puts a member that is on no list before all others.
    pub fn push_front<T: Linked<P>>(&self, members: &[T], index: u32) {
        self.insert(members, index, Link::NONE, Link::load(&self.first));
    }

    /// Puts a member that is on no list after all others.
    pub fn push_back<T: Linked<P>>(&self, members: &[T], index: u32) {
        self.insert(members, index, Link::load(&self.last), Link::NONE);
    }

    fn insert<T: Linked<P>>(&self, members: &[T], index: u32, before: Link, after: Link) {
        let links = members[index as usize].links();
        before.store(&links.prev);
        after.store(&links.next);
        Link::to(index).store(self.next_of(members, before));
        Link::to(index).store(self.prev_of(members, after));
        add(&self.len, 1);
    }

    /// Takes off a member that is on this list.
    pub fn remove<T: Linked<P>>(&self, members: &[T], index: u32) {
        let links = members[index as usize].links();
        let (before, after) = (Link::load(&links.prev), Link::load(&links.next));
        after.store(self.next_of(members, before));
        before.store(self.prev_of(members, after));
        subtract(&self.len, 1);
    }

    /// Appends all members of `other`, in their order.
    pub fn append<T: Linked<P>>(&self, members: &[T], other: &Self) {
        let Some(first) = other.first() else {
            return;
        };
        let before = Link::load(&self.last);
        before.store(&members[first as usize].links().prev);
        Link::to(first).store(self.next_of(members, before));
        Link::load(&other.last).store(&self.last);
        add(&self.len, other.len());
        other.clear();
    }

    /// Forgets all its members.
    pub fn clear(&self) {
        Link::NONE.store(&self.first);
        Link::NONE.store(&self.last);
        self.len.store(0, Ordering::Relaxed);
    }

    /// The link to the member after `before`.
    fn next_of<'a, T: Linked<P>>(&'a self, members: &'a [T], before: Link) -> &'a AtomicU32 {
        match before.index() {
            Some(before) => &members[before as usize].links().next,
            None => &self.first,
        }
    }

    /// The link to the member before `after`.
    fn prev_of<'a, T: Linked<P>>(&'a self, members: &'a [T], after: Link) -> &'a AtomicU32 {
        match after.index() {
            Some(after) => &members[after as usize].links().prev,
            None => &self.last,
        }
    }

    /// All members, from the first to the last, read from the last to the first.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn backwards<T: Linked<P>>(&self, members: &[T]) -> Vec<u32> {
        let mut found = std::collections::VecDeque::new();
        let mut link = Link::load(&self.last);
        while let Some(index) = link.index() {
            found.push_front(index);
            assert!(found.len() <= members.len(), "a list goes in a circle");
            link = Link::load(&members[index as usize].links().prev);
        }
        found.into()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[derive(Default)]
    struct Member(Links);

    impl Linked for Member {
        fn links(&self) -> &Links {
            &self.0
        }
    }

    fn members(count: usize) -> Vec<Member> {
        (0..count).map(|_| Member::default()).collect()
    }

    fn all(list: &List, members: &[Member]) -> Vec<u32> {
        let found: Vec<_> = list.iter(members).collect();
        assert_eq!(list.backwards(members), found, "the links back");
        assert_eq!(list.len() as usize, found.len());
        assert_eq!(list.first(), found.first().copied());
        assert_eq!(list.is_empty(), found.is_empty());
        found
    }

    #[test]
    fn both_ends_take_members() {
        let (list, members) = (List::default(), members(3));
        assert_eq!(all(&list, &members), []);
        list.push_back(&members, 1);
        list.push_front(&members, 0);
        list.push_back(&members, 2);
        assert_eq!(all(&list, &members), [0, 1, 2]);
    }

    #[test]
    fn a_member_leaves_from_any_place() {
        for leaves in 0..3 {
            let (list, members) = (List::default(), members(3));
            (0..3).for_each(|index| list.push_back(&members, index));
            list.remove(&members, leaves);
            let left: Vec<_> = (0..3).filter(|&index| index != leaves).collect();
            assert_eq!(all(&list, &members), left);
            list.push_back(&members, leaves);
            assert_eq!(all(&list, &members).last(), Some(&leaves));
        }
    }

    #[test]
    fn who_was_given_may_leave_while_others_are_asked_for() {
        let (list, other, members) = (List::default(), List::default(), members(3));
        (0..3).for_each(|index| list.push_back(&members, index));
        for index in list.iter(&members) {
            list.remove(&members, index);
            other.push_front(&members, index);
        }
        assert_eq!(all(&list, &members), []);
        assert_eq!(all(&other, &members), [2, 1, 0]);
    }

    #[test]
    #[should_panic(expected = "a count went below zero")]
    fn nothing_leaves_an_empty_list() {
        let (list, members) = (List::default(), members(1));
        list.remove(&members, 0);
    }

    #[derive(Clone, Debug)]
    enum Step {
        PushFront(usize, u32),
        PushBack(usize, u32),
        /// Wherever it is.
        Remove(u32),
        Append(usize),
        Clear(usize),
    }

    const MEMBERS: u32 = 6;

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..2_usize, 0..MEMBERS).prop_map(|(list, index)| Step::PushFront(list, index)),
            3 => (0..2_usize, 0..MEMBERS).prop_map(|(list, index)| Step::PushBack(list, index)),
            4 => (0..MEMBERS).prop_map(Step::Remove),
            1 => (0..2_usize).prop_map(Step::Append),
            1 => (0..2_usize).prop_map(Step::Clear),
        ]
    }

    proptest! {
        /// Two lists through the same members, against two deques.
        #[test]
        fn lists_match_deques(steps in proptest::collection::vec(step(), 1..60)) {
            let members = members(MEMBERS as usize);
            let lists = [List::default(), List::default()];
            let mut deques = [VecDeque::new(), VecDeque::new()];
            for step in steps {
                match step {
                    Step::PushFront(at, index) if deques.iter().all(|deque| !deque.contains(&index)) => {
                        lists[at].push_front(&members, index);
                        deques[at].push_front(index);
                    }
                    Step::PushBack(at, index) if deques.iter().all(|deque| !deque.contains(&index)) => {
                        lists[at].push_back(&members, index);
                        deques[at].push_back(index);
                    }
                    Step::PushFront(..) | Step::PushBack(..) => {}
                    Step::Remove(index) => {
                        let Some(at) = deques.iter().position(|deque| deque.contains(&index)) else {
                            continue;
                        };
                        lists[at].remove(&members, index);
                        deques[at].retain(|other| *other != index);
                    }
                    Step::Append(to) => {
                        lists[to].append(&members, &lists[1 - to]);
                        let moved = std::mem::take(&mut deques[1 - to]);
                        deques[to].extend(moved);
                    }
                    Step::Clear(at) => {
                        lists[at].clear();
                        deques[at].clear();
                    }
                }
                for (list, deque) in lists.iter().zip(&deques) {
                    prop_assert_eq!(all(list, &members), Vec::from(deque.clone()));
                }
            }
        }
    }
}
