//! The default engine: `rten`, pure Rust, on one thread, so that a worker's time is its own and an answer does not depend on
//! how work was shared out.

use std::sync::Arc;

use rten::{Model, NodeId, RunOptions, ThreadPool, Value};

use super::{Engine, EngineError};
use crate::models::{Colour, Files, Manifest, Role};

/// Every net of a manifest.
pub struct Pure {
    nets: Vec<(Role, Net)>,
    pool: Arc<ThreadPool>,
}

struct Net {
    model: Model,
    input: NodeId,
    outputs: Vec<NodeId>,
    shape: [usize; 4],
}

impl Pure {
    /// Loads the nets.
    ///
    /// # Errors
    /// [`EngineError::Load`].
    pub fn load(manifest: &Manifest, bytes: Files) -> Result<Self, EngineError> {
        let pool = Arc::new(ThreadPool::with_num_threads(1));
        let nets = bytes
            .into_iter()
            .map(|(role, bytes)| Ok((role, Net::load(manifest, role, bytes)?)))
            .collect::<Result<_, EngineError>>()?;
        Ok(Self { nets, pool })
    }
}

impl Net {
    fn load(manifest: &Manifest, role: Role, bytes: Vec<u8>) -> Result<Self, EngineError> {
        let refused = |what: String| EngineError::Load { role, what };
        let listed = manifest.model(role).ok_or_else(|| refused("it is not in the manifest".into()))?;
        let model = Model::load(bytes).map_err(|error| refused(error.to_string()))?;
        let node =
            |name: &String| model.find_node(name).ok_or_else(|| refused(format!("it has no node `{name}`")));
        let input = node(&listed.input.name)?;
        let outputs = listed.outputs.iter().map(node).collect::<Result<_, _>>()?;
        let planes = if listed.input.colour == Colour::Grey { 1 } else { 3 };
        Ok(Self { input, outputs, shape: [1, planes, listed.input.height, listed.input.width], model })
    }
}

impl Engine for Pure {
    fn name(&self) -> &'static str {
        "rten 0.27.0"
    }

    fn run(&self, role: Role, planes: Vec<f32>) -> Result<Vec<Vec<f32>>, EngineError> {
        let failed = |what: String| EngineError::Run { role, what };
        let (_, net) =
            self.nets.iter().find(|(of, _)| *of == role).ok_or_else(|| failed("it is not loaded".into()))?;
        let input = Value::from_shape(net.shape, planes).map_err(|error| failed(error.to_string()))?;
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&self.pool)));
        let answers = net
            .model
            .run(vec![(net.input, input.into())], &net.outputs, Some(options))
            .map_err(|error| failed(error.to_string()))?;
        answers
            .into_iter()
            .map(|answer| {
                let numbers = answer.into_tensor::<f32>().ok_or(EngineError::Form { role })?.into_data();
                if numbers.iter().all(|number| number.is_finite()) {
                    Ok(numbers)
                } else {
                    Err(EngineError::Form { role })
                }
            })
            .collect()
    }
}
