//! The retries that a service can afford.

use std::cell::Cell;

/// One worker's retry budget of one service: it keeps a failing upstream from getting its load
/// multiplied.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    tokens: Cell<u32>,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { tokens: Cell::new(MAX_TOKENS) }
    }
}

impl RetryBudget {
    /// Earns part of a retry: a fifth of the requests may be sent twice, on top of a hundred a second.
    pub(crate) fn earn(&self) {
        self.add(RETRY_COST / 5);
    }

    /// Takes out a retry; `false` when the budget is used up.
    pub(crate) fn spend(&self) -> bool {
        let rest = self.tokens.get().checked_sub(RETRY_COST);
        rest.inspect(|rest| self.tokens.set(*rest)).is_some()
    }

    /// Fills it up; each second.
    pub(crate) fn refill(&self) {
        self.add(MAX_TOKENS);
    }

    fn add(&self, tokens: u32) {
        self.tokens.set((self.tokens.get() + tokens).min(MAX_TOKENS));
    }
}

/// Tokens of one retry.
const RETRY_COST: u32 = 10;
/// Retries that an idle service has saved up, and earns each second: what is in flight on one worker
/// when a lone app is killed.
const RETRY_BURST: u32 = 100;
const MAX_TOKENS: u32 = RETRY_COST * RETRY_BURST;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_used_up_budget_affords_one_retry_for_five_requests() {
        let budget = RetryBudget::default();
        let affordable = std::iter::from_fn(|| budget.spend().then_some(())).count();
        assert_eq!(affordable, RETRY_BURST as usize);
        (0..4).for_each(|_| budget.earn());
        assert!(!budget.spend());
        budget.earn();
        assert!(budget.spend());
    }

    #[test]
    fn a_budget_is_full_again_after_a_second_and_never_more_than_that() {
        let budget = RetryBudget::default();
        while budget.spend() {}
        (0..3).for_each(|_| budget.refill());
        budget.earn();
        let affordable = std::iter::from_fn(|| budget.spend().then_some(())).count();
        assert_eq!(affordable, RETRY_BURST as usize);
    }
}
