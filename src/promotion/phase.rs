//! What is to be done with an attribute next. Pure.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// For transactions that may not have heard of the change.
    Waiting,
    FillingDocuments,
    FillingSearch,
    EmptyingSearch,
    EmptyingDocuments,
    Done,
}

impl Phase {
    const ALL: [Phase; 6] = [
        Phase::Waiting,
        Phase::FillingDocuments,
        Phase::FillingSearch,
        Phase::EmptyingSearch,
        Phase::EmptyingDocuments,
        Phase::Done,
    ];

    pub fn text(self) -> &'static str {
        match self {
            Phase::Waiting => "waiting",
            Phase::FillingDocuments => "filling documents",
            Phase::FillingSearch => "filling search",
            Phase::EmptyingSearch => "emptying search",
            Phase::EmptyingDocuments => "emptying documents",
            Phase::Done => "done",
        }
    }

    pub fn named(text: &str) -> Option<Phase> {
        Self::ALL.into_iter().find(|phase| phase.text() == text)
    }
}

/// What an attribute is to be, and what of it is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    pub is_hot: bool,
    pub is_searchable: bool,
    pub hot_ready: bool,
    pub search_ready: bool,
}

impl State {
    /// What comes after a phase that has been done. Filling comes before emptying.
    pub fn after(self, phase: Phase) -> Phase {
        let fills_search = self.is_hot && self.is_searchable && !self.search_ready;
        match phase {
            Phase::Waiting if self.is_hot && !self.hot_ready => Phase::FillingDocuments,
            Phase::Waiting | Phase::FillingDocuments if fills_search => Phase::FillingSearch,
            Phase::Waiting | Phase::FillingDocuments if !self.is_searchable => Phase::EmptyingSearch,
            Phase::EmptyingSearch if !self.is_hot => Phase::EmptyingDocuments,
            _ => Phase::Done,
        }
    }

    /// What is complete once a phase has been done.
    pub fn done(mut self, phase: Phase) -> State {
        match phase {
            Phase::FillingDocuments => self.hot_ready = true,
            Phase::FillingSearch => self.search_ready = true,
            _ => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(mut state: State) -> Vec<Phase> {
        let mut phases = vec![Phase::Waiting];
        while phases.last() != Some(&Phase::Done) {
            let last = phases[phases.len() - 1];
            state = state.done(last);
            phases.push(state.after(last));
        }
        phases
    }

    #[test]
    fn each_change_has_its_course() {
        use Phase::*;
        let state = |is_hot, is_searchable, hot_ready, search_ready| State {
            is_hot,
            is_searchable,
            hot_ready,
            search_ready,
        };
        for (state, expected) in [
            (
                state(true, true, false, false),
                vec![FillingDocuments, FillingSearch],
            ),
            (
                state(true, false, false, false),
                vec![FillingDocuments, EmptyingSearch],
            ),
            (state(true, true, true, false), vec![FillingSearch]),
            (state(true, false, true, false), vec![EmptyingSearch]),
            (
                state(false, false, false, false),
                vec![EmptyingSearch, EmptyingDocuments],
            ),
            (state(true, true, true, true), vec![]),
        ] {
            let phases = course(state);
            assert_eq!(phases[1..phases.len() - 1], expected, "{state:?}");
        }
        for phase in Phase::ALL {
            assert_eq!(Phase::named(phase.text()), Some(phase));
        }
    }
}
