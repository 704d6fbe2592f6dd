//! What can be said of a bundle for every request there could be: claims, each one condition of Cedar that must never
//! hold, or never fail. Pure: `chancery-prove` asks a solver. If a claim said less than it promises, a goal would be
//! believed that the bundle does not keep.

mod claim;
mod comparison;
pub(crate) mod condition;
mod example;
mod premise;
mod written;

use cedar_policy::Policy;

use crate::bundle::Bundle;
use crate::fact::Question;
use crate::limit::Spending;

pub use claim::{Claim, Never, Subject};
pub use comparison::Comparison;
pub use example::Example;

/// What claims are about, said of one effect that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modelled {
    /// The condition that stands for the decision holds.
    pub allowed: bool,
    /// Every premise holds.
    pub premised: bool,
}

impl Bundle {
    /// What the condition and the premises that claims are made of say of each effect of a question. `allowed` must be
    /// what [`Bundle::evaluate`] decides, and `premised` true: proofs stand on both.
    ///
    /// # Errors
    /// Says what cannot be written down.
    pub fn modelled(
        &self,
        question: &Question<'_>,
        spending: &dyn Spending,
    ) -> Result<Vec<Modelled>, String> {
        let mut modelled = Vec::new();
        for (position, effect) in question.description.effects.iter().enumerate() {
            let mut allowed = self.allows(effect.kind)?;
            let mut mentions = premise::Mentions::default();
            self.spell_out(&mut allowed)?;
            mentions.of(&allowed);
            let premises = self.premises(effect.kind, &mentions);
            let premises: Result<Vec<_>, _> = premises.iter().map(|text| condition::parse(text)).collect();
            let said = |policy: Policy| self.said(question, spending, position, &policy);
            modelled.push(Modelled {
                allowed: said(condition::permit("allowed", &allowed)?)?,
                premised: said(condition::permit("premised", &condition::all(premises?))?)?,
            });
        }
        Ok(modelled)
    }
}
