//! Parts of a good plan that probably do not mean what their author thinks.

use nixactions_expression::{
    parse,
    template::{self, Segment},
};

use crate::{
    fault::At,
    model::{Env, Plan},
};

/// Returns a note for each text in which an expression has no meaning.
pub fn notes(plan: &Plan) -> Vec<String> {
    let root = At::ROOT;
    let mut notes = Vec::new();
    let mut literal = |env: &Env, at: &At<'_>| {
        for (name, value) in env {
            if has_expression(value) {
                let at = at.key(name);
                notes.push(format!(
                    "{at}: `${{{{` stands for itself here; expressions stand in the `env` of a step"
                ));
            }
        }
    };
    literal(&plan.env, &root.key("env"));
    let jobs = root.key("jobs");
    for (name, job) in &plan.jobs {
        let at = jobs.key(name.as_str());
        literal(&job.env, &at.key("env"));
        for (service, settings) in &job.services {
            let at = at.key("services");
            literal(&settings.env, &at.key(service).key("env"));
        }
    }
    for (name, job) in &plan.jobs {
        let at = jobs.key(name.as_str());
        let at = at.key("steps");
        for (index, step) in job.steps.iter().enumerate() {
            let at = at.index(index);
            let of_post = step.post.as_ref().and_then(|post| post.script());
            for (script, at) in [(step.script(), &at), (of_post, &at.key("post"))] {
                if script.is_some_and(has_expression) {
                    notes.push(format!(
                        "{at}: `${{{{` means nothing in a script; give it the value by a variable \
                         in the `env` of the step"
                    ));
                }
            }
        }
    }
    notes
}

/// Returns whether a text has an expression in it that uses a function or a context.
fn has_expression(text: &str) -> bool {
    let uses = |segment: &Segment<'_>| match segment {
        Segment::Text(_) => false,
        Segment::Expression(inner, _) => {
            parse(inner).is_ok_and(|expression| expression.sign().is_some())
        }
    };
    template::is_template(text)
        && template::segments(text).is_ok_and(|segments| segments.iter().any(uses))
}

#[cfg(test)]
mod tests {
    use super::notes;
    use crate::parse;

    #[test]
    fn an_expression_where_it_has_no_meaning_is_noted() {
        let plan = r#"{ "version": 1, "name": "a", "env": { "A": "${{ inputs.x }}", "B": "${{ x }}" },
            "jobs": { "a": { "env": { "C": "x${{ contains('a', 'b') }}" },
                "steps": [{ "bash": "echo ${{ needs.a.result }}", "env": { "D": "${{ env.A }}" } },
                          { "bash": "echo ${HOME} '${{ values }}'", "post": { "bash": "echo ${{ job.status }}" } }] } } }"#;
        let plan = parse(plan.as_bytes()).unwrap();
        let places: Vec<_> = notes(&plan)
            .iter()
            .map(|note| note.split(": ").next().unwrap_or_default().to_owned())
            .collect();
        let expected = [
            "$.env.A",
            "$.jobs.a.env.C",
            "$.jobs.a.steps[0]",
            "$.jobs.a.steps[1].post",
        ];
        assert_eq!(places, expected);
    }
}
