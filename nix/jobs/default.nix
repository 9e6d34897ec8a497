# Jobs that others would write as well. docs/actions.md tells them to users. Each takes, beside its
# own arguments, the options of a job (`needs`, `condition`, `envFrom`, …).
api: import ./buildah.nix api
