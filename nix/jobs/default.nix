# Jobs that many workflows need. docs/actions.md documents them. Each takes its own arguments and
# the options of a job (`needs`, `condition`, `envFrom`, …).
api: import ./buildah.nix api
