"""audit-trace.py DIR: calls into the packages below DIR under audit-trace.so; writes DIR/trace.tsv. See audit-trace.sh."""

import fnmatch
import glob
import os
import re
import subprocess
import sys

# Calls into a library: `lib` is it, `out` memory for what the functions give back.
START = "import ctypes, sys\nout = ctypes.create_string_buffer(1 << 16)\nlib = ctypes.CDLL(sys.argv[1])\n"
COMPILE = (
    "lib.nvrtcCreateProgram(out, b'__global__ void k(int *p) { *p = 1; }', b'k.cu', 0, None, None)\n"
    "lib.nvrtcCompileProgram(ctypes.c_void_p.from_buffer(out), 0, None)"
)
VERSIONS = "\n".join(
    ["lib.cudnnCreate(out)"] + [f"lib.cudnn{part}VersionCheck()" for part in ("Ops", "Cnn", "Adv", "Graph")]
    + ["lib.cudnnBackendCreateDescriptor(0, out)", "lib.cudnnGetLastErrorString(out, 100)"]
)
LIBRARIES = {
    "libnvrtc.so*": COMPILE,
    "libnvrtc.alt.so*": COMPILE,
    "libcudnn.so*": VERSIONS,
    "libcudnn_*.so*": "",
    "libcublas.so*": "lib.cublasCreate_v2(out)",
    "libcublasLt.so*": "lib.cublasLtCreate(out)",
    "libcusolver.so*": "lib.cusolverDnCreate(out)",
    "libcusolverMg.so*": "lib.cusolverMgCreate(out)",
    "libcusparse.so*": "lib.cusparseCreate(out)",
    "libnccl.so*": "lib.ncclGetUniqueId(out)\nlib.ncclCommInitAll(out, 1, None)",
    "libcufile.so*": "lib.cuFileDriverOpen()",
    "libcufile_rdma.so*": "",
    "libnvshmem_host.so*": "lib.nvshmemx_get_uniqueid(out)\nlib.nvshmemx_hostlib_init_attr(0, out)",
    "nvshmem_bootstrap_*.so*": "lib.nvshmemi_bootstrap_plugin_init(out, out, 0)",
    "nvshmem_transport_*.so*": "lib.nvshmemt_init(out, out, 0)",
}
# Programs; PYTHON, DIR and SYSTEM stand for themselves.
PROGRAMS = [
    ["PYTHON", "-c", "import torch; torch.cuda.is_available(); torch.randn(2, 2) @ torch.randn(2, 2); torch.cuda.init()"],
    ["PYTHON", "-c", "import torch; torch._C._cuda_init()"],
    ["PYTHON", "-c", "import torch; print(torch.backends.cudnn.version()); torch.jit.script(lambda x: x)"],
    ["PYTHON", "-c", "import onnxruntime as o; o.get_available_providers(); o.preload_dlls()"],
    # A model without nodes, by hand: an output that is its input.
    ["PYTHON", "-c", "import onnxruntime as o\n"
     "v = lambda n: b'\\x0a\\x01' + n + b'\\x12\\x08\\x0a\\x06\\x08\\x01\\x12\\x02\\x0a\\x00'\n"
     "n = b'\\x0a\\x01x\\x12\\x01y\\x22\\x08Identity'\n"
     "g = b'\\x0a' + bytes([len(n)]) + n + b'\\x12\\x01g\\x5a' + bytes([len(v(b'x'))]) + v(b'x') + b'\\x62' + bytes([len(v(b'y'))]) + v(b'y')\n"
     "m = b'\\x08\\x07\\x3a' + bytes([len(g)]) + g + b'\\x42\\x02\\x10\\x0d'\n"
     "for p in ('CPU', 'CUDA', 'Tensorrt'): o.InferenceSession(m, providers=[p + 'ExecutionProvider'])"],
    *(["SYSTEM/usr/bin/ffmpeg", "-v", "error", *words, "-f", "null", "-"] for words in [
        "-f lavfi -i testsrc -frames 1 -c:v h264_nvenc".split(),
        "-init_hw_device cuda -f lavfi -i testsrc -frames 1".split(),
        "-init_hw_device vulkan -f lavfi -i testsrc -frames 1".split(),
        "-init_hw_device vaapi -f lavfi -i testsrc -frames 1".split(),
        "-init_hw_device vdpau -f lavfi -i testsrc -frames 1".split(),
        "-init_hw_device opencl -f lavfi -i testsrc -frames 1".split(),
        "-init_hw_device qsv -f lavfi -i testsrc -frames 1".split(),
        "-f lavfi -i testsrc -frames 1 -c:v h264_amf".split(),
        "-f lavfi -i testsrc -frames 1 -c:v h264_omx".split(),
        "-f lavfi -i testsrc -frames 1 -vf frei0r=cartoon".split(),
        "-f lavfi -i anullsrc -t 0.1 -af ladspa=delay:delay_5s".split(),
    ]),
    ["DIR/deb/systemd/bin/systemctl", "--version"],
    ["DIR/deb/systemd/usr/bin/systemd-dissect", "/dev/null"],
    ["DIR/deb/systemd/usr/bin/systemd-analyze", "condition", "ConditionSecurity=tpm2"],
    ["DIR/deb/systemd/usr/bin/systemd-cryptenroll", "--tpm2-device=list"],
    ["DIR/deb/systemd/usr/bin/systemd-cryptenroll", "--fido2-device=list"],
    ["DIR/deb/systemd/usr/bin/systemd-cryptenroll", "--pkcs11-token-uri=list"],
    ["DIR/deb/systemd/usr/bin/systemd-cryptenroll", "/dev/null"],
    ["DIR/deb/systemd/bin/journalctl", "-n1", "-g", "x"],
]


def run(command, environment, limit=60):
    try:
        done = subprocess.run(command, env=environment, timeout=limit, capture_output=True, errors="replace", cwd=os.path.dirname(environment["AUDIT_TRACE"]))
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"{command[0]}: {error}", file=sys.stderr)
        return
    last = (done.stderr.strip().splitlines() or [""])[-1]
    print(f"{done.returncode}\t{command[-1][-40:]!r}\t{last[:120]}", file=sys.stderr)


def needed(path):
    said = subprocess.run(["readelf", "-dW", path], capture_output=True, text=True).stdout
    return set(re.findall(r"\(NEEDED\).*\[(.*)\]", said))


def main(top):
    libraries = sorted(glob.glob(f"{top}/wheel/*/nvidia/*/lib/*.so*"))
    folders = {os.path.dirname(path) for path in libraries}
    folders |= {os.path.dirname(path) for path in glob.glob(f"{top}/needs/nvidia/*/lib/*.so*")}
    for system in glob.glob(f"{top}/deb/*"), [f"{top}/system"]:
        for root in system:
            found = glob.glob(f"{root}/**/*.so*", recursive=True)
            folders |= {os.path.dirname(path) for path in found if re.search("/(lib|systemd|pulseaudio|blas|lapack|x86_64-linux-gnu)$", os.path.dirname(path))}
    environment = os.environ | {
        "AUDIT_TRACE": f"{top}/trace",
        "LD_AUDIT": f"{top}/audit-trace.so",
        "LD_LIBRARY_PATH": ":".join([f"{top}/driver", *sorted(folders)]),
        "PYTHONPATH": f"{top}/wheel/torch:{top}/wheel/onnxruntime-gpu:{top}/needs",
    }
    without_driver = environment | {"LD_LIBRARY_PATH": ":".join(sorted(folders))}
    for path in libraries:
        for pattern, calls in LIBRARIES.items():
            if fnmatch.fnmatch(os.path.basename(path), pattern):
                # A call that kills the process must not keep the later ones from being made.
                for call in {calls, *calls.split("\n")}:
                    run([sys.executable, "-c", START + call, path], environment)
                    run([sys.executable, "-c", START + call, path], without_driver)
    for program in PROGRAMS:
        words = {"PYTHON": sys.executable, "DIR": top, "SYSTEM": f"{top}/system"}
        command = [re.sub("PYTHON|DIR|SYSTEM", lambda word: words[word[0]], program[0]), *program[1:]]
        run(command, environment, 300)
        run(command, without_driver, 300)

    needs, told = {}, set()
    with open(f"{top}/trace", errors="replace") as trace:
        for line in set(trace):
            kind, who, name = line.rstrip("\n").split("\t")
            who, name = os.path.realpath(who), name.removeprefix(top)
            if not who.startswith((f"{top}/wheel/", f"{top}/deb/")):
                continue
            if who not in needs:
                needs[who] = needed(who)
            if kind == "opens" or name not in needs[who]:
                told.add((os.path.relpath(who, top), name))
    with open(f"{top}/trace.tsv", "w") as out:
        out.writelines(f"{who}\t{name}\n" for who, name in sorted(told))


main(os.path.realpath(sys.argv[1]))
