//! Sets of characters (pure).

/// Ranges of characters by their number, both ends included: in order and apart from each other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Characters(Vec<(u32, u32)>);

impl Characters {
    /// `.`
    pub(super) fn all() -> Self {
        Self(vec![(0, u32::MAX)])
    }

    /// Those of all ranges. One that ends before it begins has none, as in llama.cpp.
    pub(super) fn of(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.retain(|(first, last)| first <= last);
        ranges.sort_unstable();
        let mut apart: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match apart.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => apart.push((first, last)),
            }
        }
        Self(apart)
    }

    /// All others.
    pub(super) fn inverse(&self) -> Self {
        let mut others = Vec::with_capacity(self.0.len() + 1);
        let mut next = Some(0);
        for (first, last) in &self.0 {
            if let (Some(start), Some(end)) = (next, first.checked_sub(1)) {
                others.push((start, end));
            }
            next = last.checked_add(1);
        }
        others.extend(next.map(|start| (start, u32::MAX)));
        Self(others)
    }

    /// Whether a character is in both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let (mut mine, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some((first, last)), Some((other_first, other_last))) = (mine.peek(), theirs.peek()) {
            if last < other_first {
                mine.next();
            } else if other_last < first {
                theirs.next();
            } else {
                return true;
            }
        }
        false
    }

    pub(super) fn ranges(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ranges: &[(char, char)]) -> Characters {
        Characters::of(ranges.iter().map(|(first, last)| (u32::from(*first), u32::from(*last))).collect())
    }

    #[test]
    fn ranges_are_joined_where_they_touch() {
        assert_eq!(of(&[('d', 'f'), ('a', 'b'), ('c', 'c'), ('e', 'e'), ('z', 'y')]), of(&[('a', 'f')]));
        assert_eq!(of(&[('a', 'b'), ('d', 'e')]).ranges(), 2);
    }

    #[test]
    fn the_inverse_has_all_others() {
        let letters = of(&[('a', 'z'), ('A', 'Z')]);
        assert!(letters.inverse().meets(&of(&[('[', '[')])) && !letters.inverse().meets(&letters));
        assert_eq!(letters.inverse().inverse(), letters);
        assert_eq!(Characters::all().inverse(), of(&[]));
        assert_eq!(of(&[]).inverse(), Characters::all());
        assert_eq!(of(&[('\0', '\x1F')]).inverse(), Characters::of(vec![(0x20, u32::MAX)]));
    }

    #[test]
    fn sets_meet_where_they_share_a_character() {
        assert!(of(&[('a', 'c'), ('x', 'z')]).meets(&of(&[('d', 'e'), ('z', 'z')])));
        assert!(!of(&[('a', 'c'), ('x', 'z')]).meets(&of(&[('d', 'w')])));
        assert!(!of(&[]).meets(&Characters::all()));
    }
}
