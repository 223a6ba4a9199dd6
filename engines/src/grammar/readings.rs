//! In how many ways a grammar reads the same text (pure).
//!
//! llama.cpp has a stack for every place where the answer may go on, and holds each against the whole vocabulary. A token is
//! followed from each of them in every way it can be read, until one reads it to its end; a token that none does was followed in
//! all ways, and for nine letters `([a-z]?){200}` has 10^15 (`llama_grammar_reject_candidates` of llama-grammar.cpp, which
//! remembers nothing).
//!
//! A place is a character of the grammar with everything written out, and its followers are those that may come next
//! (Glushkov 1961). llama.cpp's stacks are such places, some of them the same for it, so that what holds here bounds its work.
//! Places are together where the same text leads to both. The ways of a text that end at a place are those that end at places
//! before it which are together and read the same character; that gives a bound for all texts without trying one.

use std::collections::{HashMap, HashSet};

use super::{Alternatives, Characters, MAX_PARTS, Part, ROOT};

/// Most places where an answer may go on at once, 250 countries among them.
const MAX_PLACES: usize = 256;
/// Most ways more for every character: long tokens are few. Any white space three times in a row has 4,356 for 64 characters.
const MAX_READINGS: usize = 75;
/// Most ways times the parts of the grammar, as to go on in one of them takes llama.cpp up to so many steps.
const MAX_STEPS: usize = 1_000_000;
/// About the longest token there is, in characters.
const TOKEN_CHARS: usize = 64;
/// What the check itself may take: some tens of milliseconds.
const MAX_EFFORT: usize = 2_000_000;

/// Whether the rule `root`, of `size` parts, reads every text in few ways.
///
/// # Errors
/// That it does not, as half a sentence.
pub(super) fn check(rules: &HashMap<String, Alternatives>, size: usize) -> Result<(), String> {
    let mut places = Places { rules, sets: Vec::new(), followers: Vec::new() };
    let begin = places.of_all(&rules[ROOT]);
    let mut effort = Effort(MAX_EFFORT);
    let together = in_order(places.together(&begin.first, &mut effort)?);
    if together.iter().any(|places| places.len() > MAX_PLACES) {
        return Err(format!("more than {MAX_PLACES} of its characters can come next"));
    }
    let most = |chars: usize| (MAX_PLACES + MAX_READINGS * chars).min(MAX_STEPS / size.max(1));
    places.check_readings(&together, most, &mut effort)
}

/// What is left to be spent.
struct Effort(usize);

impl Effort {
    fn spend(&mut self, steps: usize) -> Result<(), String> {
        self.0 = self.0.checked_sub(steps).ok_or("too many of its parts can be meant by the same text")?;
        Ok(())
    }
}

/// A set of places.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct PlaceSet([u64; MAX_PARTS.div_ceil(64)]);

impl PlaceSet {
    const EMPTY: Self = Self([0; MAX_PARTS.div_ceil(64)]);

    fn insert(&mut self, place: usize) {
        self.0[place / 64] |= 1 << (place % 64);
    }

    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine |= theirs);
    }

    fn remove(&mut self, place: usize) {
        self.0[place / 64] &= !(1 << (place % 64));
    }

    fn without(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine &= !theirs);
        self
    }

    fn common(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine &= theirs);
        self
    }

    fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        let words = self.0.into_iter().enumerate().filter(|(_, word)| *word > 0);
        words.flat_map(|(number, mut word)| {
            std::iter::from_fn(move || {
                let lowest = (word > 0).then(|| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(number * 64 + lowest)
            })
        })
    }
}

impl FromIterator<usize> for PlaceSet {
    fn from_iter<I: IntoIterator<Item = usize>>(places: I) -> Self {
        let mut set = Self::EMPTY;
        places.into_iter().for_each(|place| set.insert(place));
        set
    }
}

/// A part written out.
struct Fragment {
    may_be_empty: bool,
    /// Places that it may begin with, and end with.
    first: Vec<usize>,
    last: Vec<usize>,
}

impl Fragment {
    fn empty() -> Self {
        Self { may_be_empty: true, first: Vec::new(), last: Vec::new() }
    }
}

/// The places of a grammar, at most [`MAX_PARTS`].
struct Places<'a> {
    rules: &'a HashMap<String, Alternatives>,
    /// What each reads.
    sets: Vec<&'a Characters>,
    /// What may come after each.
    followers: Vec<PlaceSet>,
}

impl<'a> Places<'a> {
    fn of_all(&mut self, alternatives: &'a Alternatives) -> Fragment {
        let mut all = Fragment { may_be_empty: false, ..Fragment::empty() };
        for parts in alternatives {
            let mut one = Fragment::empty();
            for part in parts {
                let next = self.of(part);
                self.append(&mut one, next);
            }
            all.may_be_empty |= one.may_be_empty;
            all.first.append(&mut one.first);
            all.last.append(&mut one.last);
        }
        all
    }

    fn of(&mut self, part: &'a Part) -> Fragment {
        match part {
            Part::Text { characters, .. } => {
                let mut text = Fragment::empty();
                for set in characters {
                    let place = self.sets.len();
                    self.sets.push(set);
                    self.followers.push(PlaceSet::EMPTY);
                    self.append(&mut text, Fragment { may_be_empty: false, first: vec![place], last: vec![place] });
                }
                text
            }
            Part::Rule(name) => self.of_all(&self.rules[name]),
            Part::Group(alternatives) => self.of_all(alternatives),
            Part::Repeated { part, least, most } => self.repeated(part, *least, *most),
        }
    }

    /// As llama.cpp writes it out: `x{1,3}` is `x (x (x)?)?`, `x{1,}` is `x x*`.
    fn repeated(&mut self, part: &'a Part, least: usize, most: Option<usize>) -> Fragment {
        let mut rest = Fragment::empty();
        for _ in least..most.unwrap_or(least + 1) {
            let mut one = self.of(part);
            if most.is_none() {
                self.follow(&one.last, &one.first);
            }
            self.append(&mut one, rest);
            rest = Fragment { may_be_empty: true, ..one };
        }
        let mut all = Fragment::empty();
        for _ in 0..least {
            let one = self.of(part);
            self.append(&mut all, one);
        }
        self.append(&mut all, rest);
        all
    }

    fn append(&mut self, all: &mut Fragment, mut next: Fragment) {
        self.follow(&all.last, &next.first);
        if all.may_be_empty {
            all.first.append(&mut next.first);
        }
        if !next.may_be_empty {
            all.last.clear();
        }
        all.last.append(&mut next.last);
        all.may_be_empty &= next.may_be_empty;
    }

    fn follow(&mut self, last: &[usize], first: &[usize]) {
        let first = first.iter().copied().collect();
        last.iter().for_each(|place| self.followers[*place].add(&first));
    }

    /// For each place those that it is together with, itself among them; nothing where no text leads to.
    fn together(&self, begin: &[usize], effort: &mut Effort) -> Result<Vec<PlaceSet>, String> {
        let mut together = vec![PlaceSet::EMPTY; self.sets.len()];
        let mut pairs = Vec::new();
        let mut meet = |one: usize, others: &PlaceSet, pairs: &mut Vec<(usize, usize)>| {
            let new = others.without(&together[one]);
            if new == PlaceSet::EMPTY {
                return;
            }
            for other in new.iter() {
                together[one].insert(other);
                together[other].insert(one);
                pairs.push((one, other));
            }
        };
        let begin = begin.iter().copied().collect::<PlaceSet>();
        begin.iter().for_each(|place| meet(place, &begin, &mut pairs));
        while let Some((one, other)) = pairs.pop() {
            effort.spend(self.sets[one].ranges() + self.sets[other].ranges())?;
            if self.sets[one].meets(self.sets[other]) {
                for next in self.followers[one].iter() {
                    effort.spend(1)?;
                    meet(next, &self.followers[other], &mut pairs);
                }
            }
        }
        Ok(together)
    }

    /// Whether no text is read in more ways than `most` says for its characters, wherever it begins.
    fn check_readings(
        &self,
        together: &[PlaceSet],
        most: impl Fn(usize) -> usize,
        effort: &mut Effort,
    ) -> Result<(), String> {
        let before = self.before(together, effort)?;
        let mut ways = vec![1; self.sets.len()];
        for chars in 0..=TOKEN_CHARS {
            effort.spend(together.iter().map(PlaceSet::len).sum())?;
            let sum = |places: &PlaceSet| places.iter().map(|place| ways[place]).sum::<usize>();
            let all = together.iter().map(sum).max().unwrap_or(0);
            if all > most(chars) {
                let most = most(chars);
                return Err(format!("it may read a text of {chars} characters in {all} ways, {most} are allowed"));
            }
            effort.spend(before.iter().flatten().map(Vec::len).sum())?;
            let of = |groups: &Vec<Vec<usize>>| {
                let ways = groups.iter().map(|group| group.iter().map(|place| ways[*place]).sum::<usize>());
                // A text may begin there.
                ways.max().unwrap_or(1).max(1)
            };
            let longer: Vec<usize> = before.iter().map(of).collect();
            if longer == ways {
                return Ok(());
            }
            ways = longer;
        }
        Ok(())
    }

    /// For each place the groups of those before it that may read the same character of the same text.
    fn before(&self, together: &[PlaceSet], effort: &mut Effort) -> Result<Vec<Vec<Vec<usize>>>, String> {
        let mut before = vec![PlaceSet::EMPTY; self.sets.len()];
        let mut alike = Vec::with_capacity(self.sets.len());
        for (place, others) in together.iter().enumerate() {
            let reads = |other: &usize| self.sets[place].meets(self.sets[*other]);
            effort.spend(others.iter().map(|other| self.sets[other].ranges()).sum())?;
            alike.push(others.iter().filter(reads).collect::<PlaceSet>());
            // What is together with none is never reached.
            if *others != PlaceSet::EMPTY {
                self.followers[place].iter().for_each(|next| before[next].insert(place));
            }
        }
        let mut all = Vec::with_capacity(before.len());
        for places in &before {
            effort.spend(places.len())?;
            let groups: HashSet<PlaceSet> = places.iter().map(|place| places.common(&alike[place])).collect();
            let groups: Vec<Vec<usize>> = groups.iter().map(|group| group.iter().collect()).collect();
            effort.spend(groups.iter().map(Vec::len).sum())?;
            all.push(groups);
        }
        Ok(all)
    }
}

/// Leaves each pair to one of its places: takes away one place after the other, always one that is together with the fewest of
/// those that are left. Of places that are all together the first to go keeps the others, and has few where all have few (Matula
/// and Beck 1983).
fn in_order(mut together: Vec<PlaceSet>) -> Vec<PlaceSet> {
    let mut counts: Vec<usize> = together.iter().map(PlaceSet::len).collect();
    let mut left: Vec<usize> = (0..together.len()).collect();
    while let Some(fewest) = (0..left.len()).min_by_key(|index| counts[left[*index]]) {
        let place = left.swap_remove(fewest);
        for other in together[place].iter().filter(|other| *other != place) {
            together[other].remove(place);
            counts[other] -= 1;
        }
    }
    together
}

#[cfg(test)]
mod tests {
    use super::super::check_grammar;
    use super::super::reader::Reader;
    use super::*;

    fn refused(grammar: &str) -> String {
        check_grammar(grammar).expect_err(grammar)
    }

    #[test]
    fn what_reads_every_text_in_few_ways_passes() {
        for grammar in [
            r#"root ::= ("a" | "b")*"#,
            r#"root ::= [a-z]{0,600}"#,
            r#"root ::= [^\n]* "because" [^\n]*"#,
            r#"root ::= .{0,100} "x" .{0,100}"#,
            r#"root ::= ([a-z]+ " ")* [a-z]+ ".""#,
            "root ::= \"{\" ws ws ws \"}\"\nws ::= [ \\t\\n]*",
            r#"root ::= ([^t]?){10}"#,
        ] {
            assert_eq!(check_grammar(grammar), Ok(()), "{grammar}");
        }
        let characters: Vec<String> = ('\u{4E00}'..'\u{4EFA}').map(|character| format!("\"{character}\"")).collect();
        assert_eq!(check_grammar(&format!("root ::= ({}){{3}}", characters.join(" | "))), Ok(()));
    }

    #[test]
    fn what_reads_a_text_in_many_ways_is_refused() {
        for grammar in [
            r#"root ::= ("a" | "a")*"#,
            r#"root ::= ([a-z]+ " "?)*"#,
            r#"root ::= ([^t]?){14}"#,
            r#"root ::= "-"* "-"* "-"* "-"* "x""#,
            "root ::= item* item*\nitem ::= [a-z]+ | [0-9]",
        ] {
            assert!(refused(grammar).contains(" are allowed"), "{grammar}");
        }
        assert!(refused(r#"root ::= ([^t]?){200}"#).contains("meant by the same text"));
        assert!(refused(&format!("root ::= {}", "[a-z]* ".repeat(200))).contains("meant by the same text"));
        assert!(refused(&format!("root ::= {}\".\"", ". | ".repeat(256))).contains("more than 256 of its characters"));
    }

    /// A part of few letters.
    fn random_part(random: &mut impl FnMut(usize) -> usize, depth: usize) -> String {
        match random(if depth == 0 { 3 } else { 8 }) {
            0 => "\"a\"".into(),
            1 => "\"ab\"".into(),
            2 => "[bc]".into(),
            3 => format!("({} | {})", random_part(random, depth - 1), random_part(random, depth - 1)),
            4 => format!("({})*", random_part(random, depth - 1)),
            5 => format!("({}){{1,2}}", random_part(random, depth - 1)),
            6 => format!("({})?", random_part(random, depth - 1)),
            _ => format!("{} {}", random_part(random, depth - 1), random_part(random, depth - 1)),
        }
    }

    #[test]
    fn no_text_is_read_in_more_ways_than_are_allowed() {
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..100 {
            let grammar = format!("root ::= {}", random_part(&mut random, 5));
            let rules = Reader::new(&grammar).rules().unwrap();
            let mut places = Places { rules: &rules, sets: Vec::new(), followers: Vec::new() };
            let begin = places.of_all(&rules[ROOT]).first;
            let mut effort = Effort(MAX_EFFORT);
            let together = in_order(places.together(&begin, &mut effort).unwrap());
            let is_bound = |most: &usize| places.check_readings(&together, |_| *most, &mut Effort(MAX_EFFORT)).is_ok();
            let Some(most) = (0..20).map(|power| 1 << power).find(is_bound) else { continue };
            for _ in 0..30 {
                // The ways of what comes after some other text.
                let mut ways: HashMap<usize, usize> = begin.iter().map(|place| (*place, 1)).collect();
                let start = random(6);
                for chars in 0..12 {
                    if chars <= start {
                        ways.values_mut().for_each(|ways| *ways = 1);
                    }
                    assert!(ways.values().sum::<usize>() <= most, "{grammar}: {ways:?} and not {most}");
                    let character = u32::from('a') + u32::try_from(random(3)).unwrap();
                    let character = Characters::of(vec![(character, character)]);
                    let mut longer = HashMap::new();
                    for (place, ways) in ways.iter().filter(|(place, _)| places.sets[**place].meets(&character)) {
                        places.followers[*place].iter().for_each(|next| *longer.entry(next).or_default() += ways);
                    }
                    ways = longer;
                }
            }
        }
    }
}
