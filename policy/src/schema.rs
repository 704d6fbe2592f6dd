//! The Cedar schema of a bundle: the fixed part of `schema.cedarschema` and the records that its limits, approver groups
//! and registered ABIs add. Policies are validated against it strictly, so a rule cannot read what is not there.

use cedar_policy::Schema;

use crate::call::Methods;
use crate::limit::Limit;

const TEMPLATE: &str = include_str!("schema.cedarschema");

/// The schema's text, for people.
pub(crate) fn text(limits: &[Limit], methods: &Methods, approvers: &[String]) -> String {
    let (spent, call) = (spent(limits), call(methods));
    let approvals: Vec<_> = approvers.iter().map(|group| format!("{group}: Long,")).collect();
    let fill = |text: String, mark: &str, lines: Vec<String>| text.replace(mark, &lines.join("\n    "));
    let text = fill(TEMPLATE.to_owned(), "// <spent>", spent);
    let text = fill(text, "// <call>", call);
    fill(text, "// <approvals>", approvals)
}

/// The attributes of the record `Spent`.
pub(crate) fn spent(limits: &[Limit]) -> Vec<String> {
    let spent = limits.iter().map(|limit| {
        let optional = if limit.measures_everything() { "" } else { "?" };
        format!("{}{optional}: Long,", limit.name)
    });
    spent.collect()
}

/// The attributes of the record `Call`.
pub(crate) fn call(methods: &Methods) -> Vec<String> {
    let call = methods.iter().map(|(name, parameters)| {
        let parameters: Vec<_> = parameters
            .iter()
            .map(|parameter| format!("\"{}\": {}", parameter.name, parameter.ty.cedar()))
            .collect();
        format!("\"{name}\"?: {{ {} }},", parameters.join(", "))
    });
    call.collect()
}

/// The compiled schema.
pub(crate) fn compile(text: &str) -> Result<Schema, String> {
    match Schema::from_cedarschema_str(text) {
        Ok((schema, _)) => Ok(schema),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_intent::model::Kind;

    #[test]
    fn every_kind_is_an_action() {
        let schema = compile(&text(&[], &Methods::default(), &[])).unwrap();
        let actions: Vec<_> = schema.actions().map(|uid| uid.id().unescaped().to_owned()).collect();
        for kind in Kind::ALL {
            assert!(actions.iter().any(|action| action == kind.as_str()), "no rule could name {kind:?}");
        }
        assert_eq!(actions.len(), Kind::ALL.len() + 1);
    }
}
