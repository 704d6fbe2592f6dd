//! Why an image or a sequence of frames is refused: a stable code for programs, and for the person what to change.
//! Nothing here says how near a face came to being accepted: that would guide who tries one image after another.

macro_rules! refusals {
    ($($(#[$doc:meta])+ $name:ident = $code:literal, $advice:literal;)+) => {
        /// A refusal. The code never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal { $($(#[$doc])+ $name,)+ }

        impl Refusal {
            /// Every refusal.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The text on the wire.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// What to change.
            #[must_use]
            pub fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)+ }
            }
        }
    };
}

refusals! {
    /// More bytes than an image may have.
    ImageBytes = "image-bytes", "the file is too large: send one of at most 8 MiB";
    /// Wider, higher or with more pixels than an image may have, or too small to hold a face.
    ImageDimensions = "image-dimensions", "send an image of 64 to 8192 pixels each way, and at most 12.5 million in all";
    /// Neither JPEG, PNG nor WebP.
    ImageFormat = "image-format", "send a JPEG, PNG or WebP in colour or grey";
    /// The format's end is not where the file ends: cut short, or something is hidden behind it.
    ImageEnd = "image-end", "the file is cut short or has something behind its end: save it again";
    /// The decoder refuses.
    ImageMalformed = "image-malformed", "the file is damaged: save it again";
    /// More than one frame in a file.
    ImageAnimated = "image-animated", "send a still image";
    /// Something can be seen through the image.
    ImageTransparent = "image-transparent", "send an image without transparency";
    /// No face is found.
    FaceNone = "face-none", "no face is seen: look into the camera, in even light";
    /// More than one face is found.
    FaceSeveral = "face-several", "more than one face is seen: be alone before the camera";
    /// The face has too few pixels.
    FaceSmall = "face-small", "the face is too small: come closer";
    /// A part of the face is outside of the image.
    FaceCut = "face-cut", "a part of the face is outside of the image: move to its middle";
    /// The face is not sharp.
    FaceBlurred = "face-blurred", "the face is blurred: hold still and clean the lens";
    /// Too little light.
    FaceDark = "face-dark", "the face is too dark: turn towards the light";
    /// Too much light.
    FaceBright = "face-bright", "the face is too bright: move out of the direct light";
    /// The light hides the face's features.
    FaceFlat = "face-flat", "the face has too little contrast: change the light";
    /// The face looks elsewhere.
    FaceTurned = "face-turned", "look straight into the camera";
    /// The net that judges liveness is sure that this is no living face.
    NotLive = "not-live", "hold the camera to your own face, not to an image of it";
    /// Too few frames for the instructions.
    FramesFew = "frames-few", "more frames are needed: start again";
    /// More frames than are looked at.
    FramesMany = "frames-many", "too many frames: start again";
    /// A frame is not later than the one before.
    FramesOrder = "frames-order", "the frames are out of order: start again";
    /// Before the challenge, after its end, or with a gap.
    FramesTiming = "frames-timing", "the frames do not come in time: start again";
    /// The same picture twice, in this sequence or an earlier one.
    FramesRepeated = "frames-repeated", "a frame was seen before: start again, with a live camera";
    /// Another face than in the frames before.
    FaceChanged = "face-changed", "the face changed on the way: start again, alone";
    /// It did not begin with a look into the camera.
    InstructionStart = "instruction-start", "look into the camera until the first instruction is shown";
    /// An instruction was not followed.
    InstructionMissed = "instruction-missed", "an instruction was not followed to its end: start again";
    /// Another movement than was asked for.
    InstructionWrong = "instruction-wrong", "another movement was made than the one asked for: start again";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Would catch two refusals that a program cannot tell apart.
    #[test]
    fn codes_are_distinct() {
        let codes: BTreeSet<_> = Refusal::ALL.iter().map(|refusal| refusal.code()).collect();
        assert_eq!(codes.len(), Refusal::ALL.len());
        assert!(Refusal::ALL.iter().all(|refusal| !refusal.advice().is_empty()));
    }
}
