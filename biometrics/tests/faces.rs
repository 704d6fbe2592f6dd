//! The default models on faces: against the numbers of another implementation, against simulated attacks, through the active
//! challenge. Models come from set-up and images from outside of the repository; where they are not, these tests say so.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use chancery_biometrics::challenge::{Challenge, Frame, Instruction};
use chancery_biometrics::models::{Manifest, ModelError, Models, Role};
use chancery_biometrics::pipeline::{Embedding, Face, Facing, Gate, Pipeline, Raster, Seen, decode};
use chancery_biometrics::template::Template;
use chancery_biometrics::{FaceError, Refusal};
use chancery_secret::SecretBytes;

const MANIFEST: &str = include_str!("../models/faceplugin.toml");

/// The models, or nothing where set-up did not fetch them.
fn pipeline() -> Option<&'static Pipeline> {
    static PIPELINE: OnceLock<Option<Pipeline>> = OnceLock::new();
    PIPELINE
        .get_or_init(|| {
            // The target folder, whatever it is called: cargo puts `tmp` and set-up `tools` into it.
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("tools/faces");
            if !folder.join("manifest.toml").is_file() {
                println!("skipped: no models; `cargo xtask setup` fetches them");
                return None;
            }
            Some(Pipeline::load(&folder).unwrap())
        })
        .as_ref()
}

/// A folder of the images that are kept beside the repository, or nothing.
fn images(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures/faces").join(name);
    if !folder.is_dir() {
        println!("skipped: no images `{name}` beside the repository; they may not be shipped with it");
        return None;
    }
    Some(folder)
}

fn image(path: &Path) -> Raster {
    decode(&std::fs::read(path).unwrap()).unwrap()
}

fn highest(faces: Vec<Face>) -> Option<Face> {
    faces.into_iter().max_by(|a, b| a.area.height.total_cmp(&b.area.height))
}

fn loaded(change: impl FnOnce(&mut Vec<u8>), manifest: &str) -> Result<Models, ModelError> {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = b"a model".to_vec();
    change(&mut bytes);
    for role in Role::ALL {
        std::fs::write(folder.path().join(format!("fr_{}.onnx", role.as_str())), &bytes).unwrap();
    }
    std::fs::write(folder.path().join("manifest.toml"), manifest).unwrap();
    Models::load(folder.path())
}

/// The manifest, for six files that all hold `a model`.
fn manifest() -> String {
    let hash = "97ff8a35544dcf40ad84047074439dd6aa3a0be469ea578a1b1c017d939ec61c";
    let line = |line: &str| match line.strip_prefix("sha256 = ") {
        Some(_) => format!("sha256 = \"{hash}\"\n"),
        None => format!("{line}\n"),
    };
    MANIFEST.lines().map(line).collect()
}

/// Would catch a model that is run although nobody reviewed it.
#[test]
fn a_missing_or_altered_model_fails_loudly() {
    let code = |result: Result<Models, ModelError>| result.err().map(|error| error.code());
    assert_eq!(code(loaded(|_| {}, &manifest())), None);
    assert_eq!(code(loaded(|bytes| bytes[0] ^= 1, &manifest())), Some("model-altered"));
    assert_eq!(code(loaded(|bytes| bytes.push(0), &manifest())), Some("model-altered"));
    assert_eq!(code(loaded(|_| {}, &manifest().replace("fr_eye", "fr_ear"))), Some("model-missing"));
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(code(Models::load(empty.path())), Some("model-missing"));
}

#[test]
fn a_manifest_is_read_strictly() {
    assert!(Manifest::parse(MANIFEST).is_ok());
    for (from, to) in [
        ("version = 1", "version = 2"),
        ("role = \"eye\"", "role = \"pose\""),
        ("role = \"eye\"", "role = \"ear\""),
        ("fr_eye.onnx", "../fr_eye.onnx"),
        ("fr_eye.onnx", "manifest.toml"),
        ("width = 24", "width = 2400"),
        ("deviation = [255]", "deviation = [0]"),
        ("deviation = [255]", "deviation = [255, 255, 255]"),
        ("mean = [127, 127, 127]", "mean = [127]"),
        ("outputs = [\"scores\", \"boxes\"]", "outputs = [\"scores\"]"),
        ("threshold = 0.65", ""),
        ("threshold = 0.65", "threshold = 1.5"),
        ("licence = \"MIT, as the package says\"", "licence = \"\""),
        ("origin =", "orign ="),
        ("1afcea00", "1AFCEA00"),
    ] {
        let changed = MANIFEST.replacen(from, to, 1);
        assert_ne!(changed, MANIFEST, "{from}");
        let error = Manifest::parse(&changed).unwrap_err();
        assert_eq!(error.code(), "model-manifest", "{from} -> {to}");
    }
}

/// A file, and what onnxruntime 1.32 and OpenCV 5.0 make of it by the recipe of docs/face.md: box, five points, angles,
/// liveness.
struct Known {
    file: &'static str,
    corners: [f32; 4],
    five: [(f32, f32); 5],
    pose: [f32; 3],
    liveness: f32,
}

const KNOWN: [Known; 3] = [
    Known {
        file: "image_T1.jpg",
        corners: [121.97, 108.12, 297.04, 360.08],
        five: [(191.28, 206.01), (264.83, 224.11), (233.70, 262.19), (183.01, 297.97), (234.34, 307.67)],
        pose: [-23.46, -12.01, 15.02],
        liveness: 0.6837,
    },
    Known {
        file: "image_F1.jpg",
        corners: [188.74, 115.85, 388.82, 356.21],
        five: [(225.95, 197.90), (293.68, 214.59), (221.40, 247.85), (208.77, 290.38), (253.22, 305.12)],
        pose: [33.66, -4.24, 13.29],
        liveness: 0.0,
    },
    Known {
        file: "image_F2.jpg",
        corners: [148.33, 193.34, 348.79, 501.80],
        five: [(192.58, 318.22), (302.06, 334.16), (234.81, 387.65), (198.28, 436.09), (259.66, 445.86)],
        pose: [3.73, -9.68, 8.17],
        liveness: 0.0176,
    },
];

/// Would catch swapped colours, a corner that is off, a wrong mean: every net is fed as it was measured.
#[test]
fn each_step_agrees_with_another_implementation() {
    let (Some(pipeline), Some(folder)) = (pipeline(), images("pad_samples")) else { return };
    for known in KNOWN {
        let image = image(&folder.join(known.file));
        let faces = pipeline.faces(&image).unwrap();
        assert_eq!(faces.len(), 1, "{}", known.file);
        let face = faces[0];
        let area = face.area;
        let corners = [area.x, area.y, area.x + area.width, area.y + area.height];
        for (found, known) in corners.into_iter().zip(known.corners) {
            assert!((found - known).abs() < 2.0, "box {corners:?}");
        }
        let points = pipeline.points(&image, &face).unwrap();
        let all = points.all();
        let mean = |of: &[usize]| {
            let sum = of.iter().fold((0.0, 0.0), |sum, at| (sum.0 + all[*at].0, sum.1 + all[*at].1));
            (sum.0 / of.len() as f32, sum.1 / of.len() as f32)
        };
        let five =
            [mean(&[37, 38, 40, 41]), mean(&[43, 44, 46, 47]), mean(&[30]), mean(&[48, 60]), mean(&[54, 64])];
        for ((x, y), (u, v)) in five.into_iter().zip(known.five) {
            assert!((x - u).hypot(y - v) < 3.0, "{}: {five:?}", known.file);
        }
        let pose = pipeline.pose(&image, &face).unwrap();
        for (found, known) in [pose.yaw, pose.pitch, pose.roll].into_iter().zip(known.pose) {
            assert!((found - known).abs() < 3.0, "{pose:?}");
        }
        let liveness = pipeline.liveness(&image, &face).unwrap();
        println!("{}: liveness {liveness:.4}, score {:.4}", known.file, face.score);
        assert!((liveness - known.liveness).abs() < 0.15, "{}: {liveness}", known.file);
    }
}

/// The published samples: a living person is let through, one of the two imitations is stopped by the veto. The other is not:
/// the veto is no proof of life.
#[test]
fn the_whole_walk_over_living_and_imitated_faces() {
    let (Some(pipeline), Some(folder)) = (pipeline(), images("pad_samples")) else { return };
    let look = |file: &str| pipeline.look(image(&folder.join(file)), Facing::Camera);
    assert!(look("image_T1.jpg").is_ok_and(|seen| seen.liveness > 0.3));
    assert!(matches!(look("image_F1.jpg"), Err(FaceError::Refused(Refusal::NotLive))));
    assert!(look("image_F2.jpg").is_ok());
}

/// Pairs of the list's beginning: people match themselves, strangers do not, as embeddings and as templates under one seed.
#[test]
fn people_match_themselves_and_nobody_else() {
    const PAIRS: usize = 20;
    let (Some(pipeline), Some(folder)) = (pipeline(), images("lfw_dev")) else { return };
    let pairs = chancery_biometrics::evaluate::pairs(&folder.with_file_name("lfw_dev_pairs.tsv")).unwrap();
    assert_eq!(pairs.len(), 1_200);
    let seed = SecretBytes::take(&mut [5; 32]).unwrap();
    let mut faces: BTreeMap<&str, (Embedding, Template)> = BTreeMap::new();
    let of = |same| pairs.iter().filter(move |pair| pair.same == same).take(PAIRS);
    let pairs: Vec<_> = of(true).chain(of(false)).collect();
    for name in pairs.iter().flat_map(|pair| [&pair.a, &pair.b]) {
        let image = image(&folder.join(name));
        let (x, y) = (image.width() as f32 / 2.0, image.height() as f32 / 2.0);
        let off = |face: &Face| (face.area.centre().0 - x).hypot(face.area.centre().1 - y);
        let all = pipeline.faces(&image).unwrap();
        let face = all.into_iter().min_by(|a, b| off(a).total_cmp(&off(b))).expect("a face in every image");
        let points = pipeline.points(&image, &face).unwrap();
        let embedding = pipeline.embedding(&image, &points).unwrap();
        let template = Template::make(&embedding, &seed).unwrap();
        faces.insert(name, (embedding, template));
    }
    let least = pipeline.manifest().model(Role::Feature).unwrap().threshold.unwrap();
    let (mut matched, mut hashed) = (0, 0);
    for pair in pairs {
        let ((a, a_hashed), (b, b_hashed)) = (&faces[pair.a.as_str()], &faces[pair.b.as_str()]);
        if pair.same {
            matched += usize::from(a.cosine(b) >= least);
            hashed += usize::from(a_hashed.is_of_the_same(b_hashed));
        } else {
            assert!(a.cosine(b) < least, "{} and {}: {}", pair.a, pair.b, a.cosine(b));
            assert!(!a_hashed.is_of_the_same(b_hashed), "{} and {}", pair.a, pair.b);
        }
    }
    println!("{matched} of {PAIRS} people match themselves, {hashed} by their templates");
    assert!(matched >= PAIRS - 1 && hashed >= PAIRS - 1, "{matched} {hashed}");
}

/// A photo on a sheet or screen of another size, before a wall: simulated, not printed.
fn imitated(image: &Raster, border: u8, paler: f32) -> Raster {
    let (width, height) = (image.width(), image.height());
    let (outer_width, outer_height) = (width * 2, height * 2);
    let mut rgb = Vec::with_capacity(outer_width * outer_height * 3);
    for y in 0..outer_height {
        for x in 0..outer_width {
            let (u, v) = ((x + width / 2).wrapping_sub(width), (y + height / 2).wrapping_sub(height));
            let near = |at: usize, edge: usize| at < edge + 16 || at.wrapping_add(16) < 16;
            if u < width && v < height {
                let at = (v * width + u) * 3;
                rgb.extend(
                    image.rgb()[at..at + 3]
                        .iter()
                        .map(|value| (f32::from(*value) * paler + 255.0 * (1.0 - paler) * 0.55) as u8),
                );
            } else if near(u, width) && near(v, height) {
                rgb.extend([border; 3]);
            } else {
                // A wall that is not quite even.
                let noise = ((x * 7 + y * 13) % 11) as u8;
                rgb.extend([100 + noise, 105 + noise, 112 + noise]);
            }
        }
    }
    Raster::new(outer_width, outer_height, rgb).unwrap()
}

/// How often the veto stops an imitation (1 - APCER) and a living person (BPCER). It sees what surrounds the face; the numbers
/// are of simulated attacks and claim no level of ISO/IEC 30107-3.
#[test]
fn the_veto_stops_framed_imitations_and_few_people() {
    const PEOPLE: usize = 24;
    let (Some(pipeline), Some(folder)) = (pipeline(), images("lfw_dev")) else { return };
    let gate = pipeline.gate();
    let mut people: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    people.sort();
    let mut stopped: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for person in people.iter().step_by(people.len() / PEOPLE).take(PEOPLE) {
        let mut photos: Vec<_> =
            std::fs::read_dir(person).unwrap().map(|entry| entry.unwrap().path()).collect();
        photos.sort();
        let photo = image(&photos[0]);
        let attacks = [("print", imitated(&photo, 238, 0.75)), ("screen", imitated(&photo, 12, 1.0))];
        for (kind, image) in attacks.into_iter().chain([("living", photo)]) {
            let Some(face) = highest(pipeline.faces(&image).unwrap()) else { continue };
            let belief = pipeline.liveness(&image, &face).unwrap();
            let (vetoed, tried) = stopped.entry(kind).or_default();
            *vetoed += usize::from(gate.judge_liveness(belief).is_err());
            *tried += 1;
        }
    }
    for (kind, (vetoed, tried)) in &stopped {
        println!("{kind} (simulated but for the living): {vetoed} of {tried} vetoed");
    }
    let (vetoed, tried) = stopped["living"];
    assert!(tried >= PEOPLE - 2 && vetoed * 10 <= tried, "the living: {vetoed} of {tried}");
    for kind in ["print", "screen"] {
        let (vetoed, tried) = stopped[kind];
        assert!(vetoed * 2 >= tried, "{kind}: {vetoed} of {tried}");
    }
}

/// A PGM of 8 bits, three times as large: the set's frames are smaller than a camera's.
fn enlarged(path: &Path, closer: f32, aside: usize) -> Raster {
    const TIMES: usize = 3;
    let file = std::fs::read(path).unwrap();
    assert!(file.starts_with(b"P5"), "{}", path.display());
    let (width, height) = (92, 112);
    let pixels = &file[file.len() - width * height..];
    let mut rgb = Vec::new();
    for y in 0..height * TIMES {
        for x in 0..width * TIMES {
            // Towards the middle by `closer`, sideways by whole pixels of the enlarged frame; bilinear.
            let from = |at: usize, edge: usize, by: usize| {
                let middle = edge as f32 / 2.0;
                (((at + by) as f32 + 0.5) / TIMES as f32 - middle) / closer + middle - 0.5
            };
            let (u, v) = (from(x, width, aside), from(y, height, 0));
            let (left, top) = (u.floor(), v.floor());
            let value = |x: f32, y: f32| {
                let (x, y) = (x.clamp(0.0, width as f32 - 1.0), y.clamp(0.0, height as f32 - 1.0));
                f32::from(pixels[y as usize * width + x as usize])
            };
            let (dx, dy) = (u - left, v - top);
            let upper = value(left, top) * (1.0 - dx) + value(left + 1.0, top) * dx;
            let lower = value(left, top + 1.0) * (1.0 - dx) + value(left + 1.0, top + 1.0) * dx;
            rgb.extend([(upper * (1.0 - dy) + lower * dy).round() as u8; 3]);
        }
    }
    Raster::new(width * TIMES, height * TIMES, rgb).unwrap()
}

/// Frames of a person who turned (person 1 of the set: photo 4 looks ahead, 6 to the right), in the right and the wrong order,
/// repeated, and with another person's among them. Coming closer is made by enlarging; this person
/// turns to one side alone, so that turns to the left and nods are tried on made-up frames (`challenge`).
#[test]
fn the_active_challenge_on_a_person_who_turns() {
    use Instruction::{ComeCloser, TurnRight};
    const RESTS: usize = 7;
    /// The set's faces fill the image: from here one can come closer.
    const AWAY: f32 = 0.8;
    let (Some(_), Some(folder)) = (pipeline(), images("orl")) else { return };
    let models = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("tools/faces");
    // Small grey frames of 1992 fill the image with the face: size, sharpness and liveness are not what is tried here.
    let open = Gate { eyes_px: 20.0, sharpness: 0.0, liveness: 0.0, ..Gate::default() };
    let pipeline = Pipeline::load(&models).unwrap().gated(open);
    let shot = |photo: &str, closer: f32, aside: usize| {
        pipeline.look(enlarged(&folder.join(photo), closer, aside), Facing::Anywhere).unwrap()
    };
    let least = pipeline.manifest().model(Role::Feature).unwrap().threshold.unwrap();
    let steps = vec![TurnRight, ComeCloser];
    let challenge = Challenge { steps, issued_ms: 10_000, expires_ms: 30_000 };
    let judge = |frames: &[Frame]| challenge.judge(frames, least, |_| false);
    // Rests first, each another picture, as a camera's are; then right, closer.
    let mut pool: Vec<Option<Seen>> = (1..=RESTS).map(|aside| Some(shot("s1/4.pgm", AWAY, aside))).collect();
    pool.extend([("s1/6.pgm", AWAY), ("s1/4.pgm", 1.05)].map(|(photo, closer)| Some(shot(photo, closer, 0))));
    for seen in pool.iter().flatten() {
        let like = pool[0].as_ref().unwrap().embedding.cosine(&seen.embedding);
        println!("{:?}, {:?}, {:.3} near, cosine {like:.3}", seen.pose, seen.face.area, seen.nearness);
    }
    let (right, closer) = (7, 8);
    let mut film = |order: [usize; 5], change: &dyn Fn(&mut Vec<Frame>)| {
        let frame = |(at, shot): (usize, &usize)| Frame {
            at_ms: 10_000 + 300 * at as u64,
            seen: pool[*shot].take().unwrap(),
        };
        let mut frames: Vec<Frame> = order.iter().enumerate().map(frame).collect();
        let digests: Vec<_> = frames.iter().map(|frame| frame.seen.digest).collect();
        change(&mut frames);
        let judged = judge(&frames);
        // Back into the pool, by the pictures they were.
        frames.sort_by_key(|frame| frame.at_ms);
        for (frame, (shot, digest)) in frames.into_iter().zip(order.iter().zip(digests)) {
            pool[*shot] = Some(Seen { digest, ..frame.seen });
        }
        judged
    };
    let asked = [0, right, 1, closer, 2];
    let met = film(asked, &|_| {}).unwrap_or_else(|refusal| panic!("{}", refusal.code()));
    assert!(asked[met.frame] != right, "the frame to compare looks into the camera");
    let wrong = Err(Refusal::InstructionWrong);
    assert_eq!(film([0, closer, 1, right, 2], &|_| {}), wrong);
    let moved_about = film([0, 1, 2, 3, 4], &|_| {});
    assert_eq!(moved_about, Err(Refusal::InstructionMissed), "a photo that is moved about");
    let repeated = film(asked, &|frames| frames[4].seen.digest = frames[0].seen.digest);
    assert_eq!(repeated, Err(Refusal::FramesRepeated));
    assert_eq!(film(asked, &|frames| frames.swap(1, 3)), Err(Refusal::FramesOrder));
    let other = shot("s5/2.pgm", AWAY, 0).embedding;
    assert!(pool[0].as_ref().unwrap().embedding.cosine(&other) < least);
    let stranger = Frame { at_ms: 10_600, seen: shot("s5/2.pgm", AWAY, 0) };
    let mut mixed: Vec<Frame> = [0, right]
        .map(|shot| pool[shot].take().unwrap())
        .into_iter()
        .enumerate()
        .map(|(at, seen)| Frame { at_ms: 10_000 + 300 * at as u64, seen })
        .collect();
    mixed.push(stranger);
    let rest = [closer, 3].map(|shot| pool[shot].take().unwrap()).into_iter().enumerate();
    mixed.extend(rest.map(|(at, seen)| Frame { at_ms: 10_900 + 300 * at as u64, seen }));
    assert_eq!(judge(&mixed), Err(Refusal::FaceChanged));
}

/// Sizes and contents that are no face, and too many of them.
#[test]
fn what_is_no_single_face_is_refused() {
    let (Some(pipeline), Some(folder)) = (pipeline(), images("pad_samples")) else { return };
    let refused = |image: Raster| match pipeline.look(image, Facing::Camera) {
        Err(FaceError::Refused(refusal)) => refusal,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("a face was seen"),
    };
    for (width, height) in [(64, 64), (64, 8_192), (8_192, 64), (1_601, 1_601), (4_096, 3_072)] {
        for value in [0_u8, 127, 255] {
            let even = Raster::new(width, height, vec![value; width * height * 3]).unwrap();
            assert_eq!(refused(even), Refusal::FaceNone, "{width} x {height} of {value}");
        }
    }
    let noise: Vec<u8> =
        (0..640 * 480 * 3_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    assert_eq!(refused(Raster::new(640, 480, noise).unwrap()), Refusal::FaceNone);
    let face = image(&folder.join("image_T1.jpg"));
    let tiled = |across: usize, down: usize| {
        let (width, height) = (face.width(), face.height());
        let mut rgb = Vec::new();
        for y in 0..height * down {
            for _ in 0..across {
                let row = (y % height) * width * 3;
                rgb.extend(&face.rgb()[row..row + width * 3]);
            }
        }
        Raster::new(width * across, height * down, rgb).unwrap()
    };
    assert_eq!(refused(tiled(2, 1)), Refusal::FaceSeveral);
    assert_eq!(refused(tiled(6, 4)), Refusal::FaceSeveral, "a crowd");
    let darker = |by: u8| {
        let rgb = face.rgb().iter().map(|value| value / by).collect();
        refused(Raster::new(face.width(), face.height(), rgb).unwrap())
    };
    assert_eq!(darker(5), Refusal::FaceDark);
    let blurred = |side: usize| {
        let (width, height) = (face.width(), face.height());
        let mut rgb = Vec::new();
        for y in 0..height {
            for x in 0..width {
                for channel in 0..3 {
                    let (mut sum, mut count) = (0_usize, 0);
                    for v in y.saturating_sub(side)..(y + side + 1).min(height) {
                        for u in x.saturating_sub(side)..(x + side + 1).min(width) {
                            sum += usize::from(face.rgb()[(v * width + u) * 3 + channel]);
                            count += 1;
                        }
                    }
                    rgb.push((sum / count) as u8);
                }
            }
        }
        refused(Raster::new(width, height, rgb).unwrap())
    };
    assert_eq!(blurred(6), Refusal::FaceBlurred);
}
