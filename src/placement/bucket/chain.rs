//! In which order a chain of keys is asked for: two rounds of questions side by side tell exactly where it ends.

/// Keys that the first round asks for, spread over the chain.
const SPREAD: usize = 16;

/// Where the end of a chain of `length` keys is looked for first: positions spread over it, the last one among them.
pub(super) fn first_round(length: usize) -> Vec<usize> {
    let count = SPREAD.min(length);
    (1..=count).map(|part| part * length / count - 1).collect()
}

/// What the first key that is not there, as far as is known, leaves to be asked for: every key before it that is not
/// known to be there. `known` says for each key whether it is there, if that is known.
pub(super) fn second_round(known: &[Option<bool>]) -> Vec<usize> {
    let end = known.iter().position(|known| *known == Some(false)).unwrap_or(known.len());
    (0..end).filter(|&index| known.get(index).is_some_and(Option::is_none)).collect()
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use super::*;

    /// Plays both rounds on a chain and returns where it ends by them, and how many keys were asked for.
    fn play(there: &[bool]) -> (usize, usize) {
        let mut known = vec![None; there.len()];
        let mut asked = 0;
        for round in [first_round(there.len()), second_round(&[])] {
            asked += round.len();
            round.iter().for_each(|&index| known[index] = Some(there[index]));
        }
        let rest = second_round(&known);
        asked += rest.len();
        rest.iter().for_each(|&index| known[index] = Some(there[index]));
        let end = known.iter().position(|known| *known == Some(false)).unwrap_or(there.len());
        assert!(known[..end].iter().all(|known| *known == Some(true)), "a key before the end is not known");
        (end, asked)
    }

    /// Wherever a chain ends, and whatever lies behind: the two rounds tell its end exactly.
    #[test]
    fn two_rounds_tell_exactly_where_a_chain_ends() {
        for length in [1usize, 2, 15, 16, 17, 127, 128, 256] {
            for end in 0..=length {
                let mut there = vec![true; end];
                there.resize(length, false);
                assert_eq!(play(&there).0, end);
                // Keys behind a gap may be there: they do not count, and do not deceive.
                for (index, there) in there.iter_mut().enumerate().skip(end + 1) {
                    *there = index % 3 == 0;
                }
                assert_eq!(play(&there).0, end, "{length}");
            }
        }
    }

    /// A chain of which nothing is there costs the spread and a few keys, not one request for each.
    #[test]
    fn a_chain_that_is_not_there_costs_little() {
        let (end, asked) = play(&[false; 128]);
        assert_eq!(end, 0);
        assert!(asked <= 16 + 8, "{asked}");
        assert_eq!(play(&[true; 128]), (128, 128));
    }
}
