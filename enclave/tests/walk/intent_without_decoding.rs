//! An intent comes from `understand` alone: nobody writes down what a payload does.

fn forge(description: chancery_intent::Description) -> chancery_intent::Intent {
    chancery_intent::Intent { description, preimage: Vec::new(), digest: [0; 32], document: todo!() }
}

fn main() {}
