//! In which order a flush looks at the pages of staging. Pure.

use std::collections::VecDeque;
use std::ops::Range;

/// How often one tour makes way: a few flushes are apart then, and many share what is there anyway.
const MOST_LEAPS: u32 = 3;

/// Every page once, from a place to begin on and round to it again.
pub struct Tour {
    ahead: VecDeque<Range<u32>>,
    leaps: u32,
}

impl Tour {
    pub fn new(pages: u32, first: u32) -> Tour {
        let first = first.min(pages);
        let mut tour = Tour {
            ahead: VecDeque::new(),
            leaps: 0,
        };
        tour.append(first..pages);
        tour.append(0..first);
        tour
    }

    /// Somebody else is at work here: goes on half of the way ahead of him, and looks at what it leaps over in the end. Two that began
    /// at the same place would look at each page one after the other, to find that its rows are taken.
    pub fn leap(&mut self) {
        if self.leaps == MOST_LEAPS {
            return;
        }
        self.leaps += 1;
        let mut to_go = self.ahead.iter().map(|pages| pages.len() as u32).sum::<u32>() / 2;
        while to_go > 0
            && let Some(pages) = self.ahead.pop_front()
        {
            let middle = pages.end.min(pages.start.saturating_add(to_go));
            to_go -= middle - pages.start;
            self.append(pages.start..middle);
            if middle < pages.end {
                self.ahead.push_front(middle..pages.end);
            }
        }
    }

    fn append(&mut self, pages: Range<u32>) {
        if !pages.is_empty() {
            self.ahead.push_back(pages);
        }
    }
}

impl Iterator for Tour {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        loop {
            if let Some(page) = self.ahead.front_mut()?.next() {
                return Some(page);
            }
            self.ahead.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_round_from_where_it_begins() {
        assert_eq!(Tour::new(4, 2).collect::<Vec<_>>(), [2, 3, 0, 1]);
        assert_eq!(Tour::new(2, 9).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(Tour::new(0, 0).next(), None);
    }

    #[test]
    fn whoever_makes_way_is_half_of_the_way_ahead() {
        let mut tour = Tour::new(8, 6);
        assert_eq!(tour.next(), Some(6));
        tour.leap();
        assert_eq!(tour.collect::<Vec<_>>(), [2, 3, 4, 5, 7, 0, 1]);
    }

    #[test]
    fn each_page_comes_once_wherever_it_leaps() {
        for pages in 0..20 {
            for first in 0..=pages {
                for pattern in 0..256_u32 {
                    let mut tour = Tour::new(pages, first);
                    let mut seen = Vec::new();
                    while let Some(page) = tour.next() {
                        if pattern >> (seen.len() % 8) & 1 == 1 {
                            tour.leap();
                        }
                        seen.push(page);
                    }
                    seen.sort_unstable();
                    assert_eq!(seen, (0..pages).collect::<Vec<_>>(), "{first} {pattern:b}");
                }
            }
        }
    }
}
