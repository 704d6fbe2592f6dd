//! An intent comes from `understand` alone: nobody writes down what a payload does, or keeps a digest under other words.
//~ error[E0451]: fields `description`, `preimage`, `digest`, `signings` and `document` of struct `Intent` are private

fn swap(
    other: chancery_intent::Intent,
    description: chancery_intent::Description,
) -> chancery_intent::Intent {
    chancery_intent::Intent { description, ..other }
}

fn main() {}
