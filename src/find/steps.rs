//! A search from end to end. Whatever gives the candidates, they come in the order of entities and each is looked at until all
//! conditions are known to hold, so the answer does not depend on where values are kept.

use super::candidate::Candidate;
use super::cold::{self, Budget};
use super::question::{Kept, Question};
use super::search::{Candidates, LONG, Lists, QUICK, Stream};
use super::{explain, hot};
use crate::error::Error;
use crate::installed::Installed;
use crate::pg::jsonb::Jsonb;

/// Entities of the projection that are looked at before the longest lists of the index are collected: if values that satisfy are
/// dense, that is faster.
const GLANCE: i64 = 10_000;

/// Candidates that are looked at together; more each time, since fewer of them satisfy than was hoped for.
const LEAST_CHUNK: usize = 4;
const FIRST_CHUNK: usize = 256;
const LARGEST_CHUNK: usize = 16_384;

/// Receives what was found; false: enough.
pub type Receive<'a> = dyn FnMut(i64, Option<&Jsonb>, i64) -> Result<bool, Error> + 'a;

/// Where candidates come from.
enum Source<'a> {
    /// The index, in order.
    Indexed(Stream<'a>),
    /// These, in order.
    Listed(Candidates),
    /// The projection as a whole.
    Projection,
    /// The readings of the first cold attribute.
    Facts,
}

/// Goes through what satisfies the question, behind `after`, in order, until `receive` has enough, which is after `most`.
pub fn run(
    installed: &Installed,
    question: &Question,
    after: Option<i64>,
    most: usize,
    receive: &mut Receive,
) -> Result<(), Error> {
    if question.is_impossible() {
        return Ok(());
    }
    let mut steps = Steps {
        installed,
        question,
        budget: Budget::new(),
        after,
        most,
        receive,
        enough: false,
    };
    steps.run()
}

struct Steps<'a, 'r> {
    installed: &'a Installed,
    question: &'a Question,
    budget: Budget,
    after: Option<i64>,
    most: usize,
    receive: &'a mut Receive<'r>,
    enough: bool,
}

impl<'a> Steps<'a, '_> {
    fn run(&mut self) -> Result<(), Error> {
        let has = |kept| self.question.of(kept).next().is_some();
        let (searchable, hot, cold) = (has(Kept::Searchable), has(Kept::Hot), has(Kept::Cold));
        if searchable {
            if let Some(stream) = Stream::open(self.installed, self.question, self.after)? {
                return self.go_through(Source::Indexed(stream));
            }
            let mut lists = Lists::open(self.installed, self.question, self.after)?;
            if let Some(candidates) = lists.candidates(&QUICK)? {
                return self.go_through(Source::Listed(candidates));
            }
            if !cold {
                // Goes on where it stopped.
                if !self.walk_projection(GLANCE)? {
                    return Ok(());
                }
            }
            if let Some(mut candidates) = lists.candidates(&LONG)? {
                // Some were looked at since the lists were begun.
                self.after.iter().for_each(|last| candidates.skip(*last));
                return self.go_through(Source::Listed(candidates));
            }
        }
        if (searchable || hot) && !cold {
            while self.walk_projection(i64::MAX)? {}
            return Ok(());
        }
        if searchable || hot {
            return self.go_through(Source::Projection);
        }
        if let Some(first) = self.question.of(Kept::Cold).next() {
            cold::check_cost(
                first,
                explain::expected(self.installed, self.question, first).rows,
            )?;
        }
        self.go_through(Source::Facts)
    }

    /// Without cold attributes the projection says it all; whether there is more behind the `most` that were looked at.
    fn walk_projection(&mut self, most: i64) -> Result<bool, Error> {
        let (receive, mut enough) = (&mut *self.receive, false);
        let last = hot::walk(self.installed, self.question, self.after, most, |found| {
            enough = !receive(found.entity_id, Some(&found.attrs), found.newest)?;
            Ok(!enough)
        })?;
        self.after = last.or(self.after);
        Ok(last.is_some() && !enough)
    }

    fn go_through(&mut self, mut source: Source) -> Result<(), Error> {
        let mut size = match source {
            // All of them have the value, and most will satisfy.
            Source::Indexed(_) => self.most.clamp(LEAST_CHUNK, FIRST_CHUNK),
            _ => FIRST_CHUNK,
        };
        while !self.enough {
            let (mut chunk, more) = self.next(&mut source, size)?;
            let mut conditions = self.question.of(Kept::Cold);
            if matches!(source, Source::Facts) {
                conditions.next();
            }
            for condition in conditions {
                chunk = cold::keep(self.installed, self.question, condition, chunk, &mut self.budget)?;
            }
            self.hand_over(&chunk)?;
            if !more {
                break;
            }
            size = (size * 4).min(LARGEST_CHUNK);
        }
        Ok(())
    }

    /// Candidates with the newest time of what is known of them, and whether there may be more behind them.
    fn next(&mut self, source: &mut Source, size: usize) -> Result<(Vec<Candidate>, bool), Error> {
        match source {
            Source::Indexed(stream) => Ok(chunk(stream.next(size)?, size)),
            Source::Listed(candidates) => Ok(chunk(candidates.next(size), size)),
            Source::Projection => {
                let mut chunk = Vec::new();
                let last = hot::walk(self.installed, self.question, self.after, i64::MAX, |found| {
                    chunk.push(Candidate::new(found.entity_id, i64::MIN));
                    Ok(chunk.len() < size)
                })?;
                self.after = last;
                Ok((chunk, last.is_some()))
            }
            Source::Facts => {
                let Some(first) = self.question.of(Kept::Cold).next() else {
                    return Ok((Vec::new(), false));
                };
                let after = self.after;
                let chunk = cold::walk(
                    self.installed,
                    self.question,
                    first,
                    after,
                    size,
                    &mut self.budget,
                )?;
                self.after = chunk.last().map(|one| one.entity);
                let more = chunk.len() >= size;
                Ok((chunk, more))
            }
        }
    }

    /// The last look, at the projection: who satisfies its conditions and is not deleted is handed over.
    fn hand_over(&mut self, chunk: &[Candidate]) -> Result<(), Error> {
        if chunk.is_empty() {
            return Ok(());
        }
        let (receive, mut enough) = (&mut *self.receive, false);
        hot::look_up(self.installed, self.question, chunk, |known, found| {
            enough = match found {
                Some(found) => !receive(known.entity, Some(&found.attrs), known.newest.max(found.newest))?,
                None => !receive(known.entity, None, known.newest)?,
            };
            Ok(!enough)
        })?;
        self.enough = enough;
        Ok(())
    }
}

/// Fewer than were asked for: there are no more.
fn chunk(found: Vec<Candidate>, size: usize) -> (Vec<Candidate>, bool) {
    let more = found.len() == size;
    (found, more)
}
