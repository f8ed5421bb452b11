#!/usr/bin/env python3
"""Writes src/builtin/types.txt, the table of built-in types.

usage: builtin_types.py SWAGGER MODULES > types.txt
SWAGGER: /openapi/v2 of a kube-apiserver; MODULES: a folder with api, apimachinery and
apiextensions-apiserver at the same version. The first gives shapes and merge keys, the second says
which fields a Go encoder leaves out when they are zero. Only names and shapes go into the table.
"""
import glob, json, re, sys

swagger, modules = sys.argv[1:]
defs = json.load(open(swagger))["definitions"]
ROOTS = """core.v1: Namespace Pod Service ConfigMap Secret Event ServiceAccount Endpoints Node PodTemplate
 ReplicationController PersistentVolumeClaim Binding LimitRange ResourceQuota PersistentVolume
apps.v1: Deployment ReplicaSet StatefulSet DaemonSet ControllerRevision
batch.v1: Job CronJob
autoscaling.v2: HorizontalPodAutoscaler
autoscaling.v1: Scale
policy.v1: PodDisruptionBudget Eviction
coordination.v1: Lease
discovery.v1: EndpointSlice
networking.v1: Ingress IngressClass NetworkPolicy
events.v1: Event
rbac.v1: Role RoleBinding ClusterRole ClusterRoleBinding
scheduling.v1: PriorityClass
authorization.v1: SelfSubjectAccessReview
apiextensions.v1: CustomResourceDefinition
meta.v1: DeleteOptions"""
PREFIX = {"meta": "io.k8s.apimachinery.pkg.apis.", "apiextensions": "io.k8s.apiextensions-apiserver.pkg.apis."}
LEAF = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "x",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "q",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "t",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "m",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "a",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "a",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps": "a",
}

def short(name):
    return re.sub(r"^io\.k8s\.(api\.|apimachinery\.pkg\.apis\.|apiextensions-apiserver\.pkg\.apis\.)", "", name)

def package_dir(name):
    group = short(name).split(".")
    if group[0] == "meta": return f"{modules}/apimachinery/pkg/apis/meta/v1"
    if group[0] == "apiextensions": return f"{modules}/apiextensions-apiserver/pkg/apis/apiextensions/v1"
    return f"{modules}/api/{group[0]}/{group[1]}"

structs = {}
def load(directory):
    if directory in structs: return structs[directory]
    found = structs[directory] = {}
    for path in glob.glob(directory + "/*types*.go"):
        for m in re.finditer(r"^type (\w+) struct \{\n(.*?)^\}", open(path).read(), re.M | re.S):
            found[m[1]] = [(f[2], f[3], f[4]) for f in re.finditer(r'^\s+(\w+ +)?([^\s/`]+) +`json:"([^"]*)"(?:[^`]*protobuf:"\w+,(\d+),)?', m[2], re.M)]
    return found

def go_fields(directory, struct):
    """json name => (Go type, options, numbers in protobuf)"""
    out = {}
    for gotype, tag, number in load(directory).get(struct, []):
        name, *options = tag.split(",")
        if "inline" in options or name == "":
            for inner, (t, o, numbers) in go_fields(directory, gotype.split(".")[-1]).items():
                out[inner] = (t, o, ([number] if number else []) + numbers)
        else:
            out[name] = (gotype, options, [number] if number else [])
    return out

queue, seen = [], {}
def want(name):
    if name not in seen:
        seen[name] = None
        queue.append(name)

def shape(p):
    ref = p.get("$ref")
    if ref:
        name = ref.split("/")[-1]
        if name in LEAF: return LEAF[name]
        d = defs[name]
        if "properties" not in d: return {"string": "s"}.get(d.get("type"), "a")
        want(name)
        return "@" + short(name) + ("!" if d.get("x-kubernetes-map-type") == "atomic" else "")
    t = p.get("type")
    if t == "array":
        kind = p.get("x-kubernetes-list-type", "atomic")
        mark = {"atomic": "", "set": "=", "map": ",".join(p.get("x-kubernetes-list-map-keys", []))}[kind]
        return f"[{mark}]" + shape(p["items"])
    if t == "object":
        if "additionalProperties" in p:
            return "{}" + ("!" if p.get("x-kubernetes-map-type") == "atomic" else "") + shape(p["additionalProperties"])
        return "a"
    if t == "string": return "y" if p.get("format") == "byte" else "s"
    if t == "integer" and p.get("format") == "int64": return "l"
    return {"integer": "i", "number": "n", "boolean": "b"}.get(t, "a")

def flags(p, go):
    gotype, options, numbers = go
    strategy = p.get("x-kubernetes-patch-strategy", "")
    out = []
    value_struct = ("$ref" in p) and not gotype.startswith("*") and shape(p)[0] in "@tmxq"
    if gotype.startswith("*"):
        out.append("p" if "omitempty" in options else "n")
    elif "omitzero" in options: out.append("o")
    elif value_struct: out.append("z")
    elif "omitempty" in options: out.append("o")
    else: out.append("z")
    if "merge" in strategy: out.append("~" + p.get("x-kubernetes-patch-merge-key", ""))
    if "retainKeys" in strategy: out.append("^")
    if numbers: out.append("#" + ".".join(numbers))
    return " ".join(out)

for line in ROOTS.replace("\n ", " ").splitlines():
    group, kinds = line.split(": ")
    for kind in kinds.split():
        want(PREFIX.get(group.split(".")[0], "io.k8s.api.") + group + "." + kind)
while queue:
    name = queue.pop(0)
    d = defs[name]
    go = go_fields(package_dir(name), name.split(".")[-1])
    lines = []
    for field, p in sorted(d["properties"].items()):
        if field not in go: print("no Go field", name, field, file=sys.stderr)
        line = f" {field} {shape(p)} {flags(p, go.get(field, ('*', ['omitempty'], [])))}"
        if field in d.get("required", []): line += " !"
        lines.append(line)
    seen[name] = lines
print("# Written by tools/builtin_types.py; see src/builtin/types.rs for how to read it.")
for name in sorted(seen, key=short):
    print(short(name) + (" !" if defs[name].get("x-kubernetes-map-type") == "atomic" else ""))
    print("\n".join(seen[name]))
