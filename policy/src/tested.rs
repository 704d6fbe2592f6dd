//! Evidence that a bundle compiled and passed its own tests. Only such a bundle can decide: there is no other way to a
//! `Tested`, and `decide` takes nothing else.

use std::sync::Arc;

use crate::bundle::Bundle;
use crate::error::PolicyError;
use crate::source::Source;

/// A bundle whose own tests all passed. Cheap to clone, and not made otherwise:
///
/// ```compile_fail,E0451
/// fn untested(bundle: std::sync::Arc<chancery_policy::Bundle>) -> chancery_policy::Tested {
///     chancery_policy::Tested { bundle }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Tested {
    bundle: Arc<Bundle>,
}

impl Tested {
    /// Compiles a bundle and runs its tests.
    ///
    /// # Errors
    /// [`PolicyError::Invalid`] with every finding; [`PolicyError::Untested`] with every test that failed.
    pub fn compile(source: &Source) -> Result<Self, PolicyError> {
        Self::of(Bundle::compile(source)?)
    }

    /// Runs a bundle's tests.
    ///
    /// # Errors
    /// [`PolicyError::Untested`] with every test that failed.
    pub fn of(bundle: Bundle) -> Result<Self, PolicyError> {
        let failed: Vec<_> = bundle.test().into_iter().filter(|result| !result.passed).collect();
        if failed.is_empty() {
            Ok(Self { bundle: Arc::new(bundle) })
        } else {
            Err(PolicyError::Untested { failed })
        }
    }

    /// The bundle.
    #[must_use]
    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }
}
