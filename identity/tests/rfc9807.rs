//! The published vectors of OPAQUE (RFC 9807, appendix C) for the groups that are spoken here, through the library's own door
//! with the randomness of the vectors. Would catch a library of another draft, and one that answers for nobody otherwise than
//! the RFC says. Not compared, because the library does not show them: the intermediate values.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

use opaque_ke::ksf::Identity;
use opaque_ke::{
    CipherSuite, ClientLogin, ClientLoginFinishParameters, ClientRegistration,
    ClientRegistrationFinishParameters, CredentialFinalization, CredentialRequest, CredentialResponse,
    Identifiers, RegistrationRequest, RegistrationResponse, RegistrationUpload, Ristretto255, ServerLogin,
    ServerLoginParameters, ServerRegistration, ServerSetup, TripleDh,
};
use rand_core::{CryptoRng, RngCore};
use serde_json::Value;
use sha2::Sha512;

/// The profile of the vectors: that of the appliance but for the stretching, which they leave out.
struct Vectors;

impl CipherSuite for Vectors {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, Sha512>;
    type Ksf = Identity;
}

/// Gives out what it was given, and nothing more.
struct Given(Vec<u8>);

impl Given {
    fn all<const N: usize>(parts: [Vec<u8>; N]) -> Self {
        Self(parts.concat())
    }
}

impl RngCore for Given {
    fn next_u32(&mut self) -> u32 {
        panic!("only bytes are drawn")
    }
    fn next_u64(&mut self) -> u64 {
        panic!("only bytes are drawn")
    }
    fn fill_bytes(&mut self, buffer: &mut [u8]) {
        let rest = self.0.split_off(buffer.len());
        buffer.copy_from_slice(&self.0);
        self.0 = rest;
    }
    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(buffer);
        Ok(())
    }
}

impl CryptoRng for Given {}

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/rfc9807.json")).unwrap()
}

fn bytes(vector: &Value, name: &str) -> Vec<u8> {
    let text = vector[name].as_str().unwrap_or_else(|| panic!("no {name}"));
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn optional(vector: &Value, name: &str) -> Option<Vec<u8>> {
    vector.get(name).map(|_| bytes(vector, name))
}

/// A scalar as the library draws it: 64 bytes that are reduced.
fn scalar(vector: &Value, name: &str) -> Vec<u8> {
    [bytes(vector, name), vec![0; 32]].concat()
}

fn setup(vector: &Value, nobody: &[u8]) -> ServerSetup<Vectors> {
    let kept = [&bytes(vector, "oprf_seed")[..], &bytes(vector, "server_private_key"), nobody].concat();
    let setup = ServerSetup::<Vectors>::deserialize(&kept).unwrap();
    assert_eq!(setup.keypair().public().serialize().to_vec(), bytes(vector, "server_public_key"));
    setup
}

#[test]
fn the_real_vectors_come_out() {
    let vectors = vectors();
    let real = vectors["real"].as_array().unwrap();
    assert_eq!(real.len(), 2);
    for vector in real {
        let section = &vector["section"];
        let is = |name: &str, found: &[u8]| assert_eq!(found, bytes(vector, name), "{section}: {name}");
        let [password, who, context] =
            [bytes(vector, "password"), bytes(vector, "credential_identifier"), bytes(&vectors, "context")];
        let (client, server) = (optional(vector, "client_identity"), optional(vector, "server_identity"));
        let identifiers = Identifiers { client: client.as_deref(), server: server.as_deref() };
        let setup = setup(vector, &bytes(vector, "server_public_key"));

        let start =
            ClientRegistration::<Vectors>::start(&mut Given(scalar(vector, "blind_registration")), &password)
                .unwrap();
        is("registration_request", &start.message.serialize());
        let request = RegistrationRequest::deserialize(&bytes(vector, "registration_request")).unwrap();
        let answer = ServerRegistration::<Vectors>::start(&setup, request, &who).unwrap();
        is("registration_response", &answer.message.serialize());
        let response = RegistrationResponse::deserialize(&bytes(vector, "registration_response")).unwrap();
        let parameters = ClientRegistrationFinishParameters::new(identifiers, None);
        let mut random = Given(bytes(vector, "envelope_nonce"));
        let finish = start.state.finish(&mut random, &password, response, parameters).unwrap();
        is("registration_upload", &finish.message.serialize());
        is("export_key", &finish.export_key);
        let upload = RegistrationUpload::<Vectors>::deserialize(&bytes(vector, "registration_upload"));
        let file = ServerRegistration::finish(upload.unwrap());

        let mut random = Given::all([
            scalar(vector, "blind_login"),
            bytes(vector, "client_keyshare_seed"),
            bytes(vector, "client_nonce"),
        ]);
        let start = ClientLogin::<Vectors>::start(&mut random, &password).unwrap();
        is("KE1", &start.message.serialize());
        let parameters = || ServerLoginParameters { context: Some(&context), identifiers };
        let mut random = Given::all([
            vec![0; 64],
            bytes(vector, "masking_nonce"),
            bytes(vector, "server_keyshare_seed"),
            bytes(vector, "server_nonce"),
        ]);
        let ke1 = CredentialRequest::deserialize(&bytes(vector, "KE1")).unwrap();
        let answer = ServerLogin::start(&mut random, &setup, Some(file), ke1, &who, parameters()).unwrap();
        is("KE2", &answer.message.serialize());
        assert!(random.0.is_empty(), "{section}: all of the randomness was used");
        let ke2 = CredentialResponse::deserialize(&bytes(vector, "KE2")).unwrap();
        let finishing = ClientLoginFinishParameters::new(Some(&context), identifiers, None);
        let finish = start.state.finish(&mut Given(Vec::new()), &password, ke2, finishing).unwrap();
        is("KE3", &finish.message.serialize());
        is("export_key", &finish.export_key);
        is("session_key", &finish.session_key);
        let ke3 = CredentialFinalization::deserialize(&bytes(vector, "KE3")).unwrap();
        is("session_key", &answer.state.finish(ke3, parameters()).unwrap().session_key);
    }
}

#[test]
fn the_answer_to_nobody_is_that_of_the_rfc() {
    let vectors = vectors();
    let fake = vectors["fake"].as_array().unwrap();
    assert_eq!(fake.len(), 1);
    for vector in fake {
        let setup = setup(vector, &bytes(vector, "client_public_key"));
        let mut random = Given::all([
            bytes(vector, "masking_key"),
            bytes(vector, "masking_nonce"),
            bytes(vector, "server_keyshare_seed"),
            bytes(vector, "server_nonce"),
        ]);
        let [client, server] = ["client_identity", "server_identity"].map(|name| bytes(vector, name));
        let identifiers = Identifiers { client: Some(&client), server: Some(&server) };
        let context = bytes(&vectors, "context");
        let parameters = ServerLoginParameters { context: Some(&context), identifiers };
        let ke1 = CredentialRequest::deserialize(&bytes(vector, "KE1")).unwrap();
        let who = bytes(vector, "credential_identifier");
        let answer = ServerLogin::start(&mut random, &setup, None, ke1, &who, parameters).unwrap();
        assert_eq!(answer.message.serialize().to_vec(), bytes(vector, "KE2"), "{}", vector["section"]);
    }
}
