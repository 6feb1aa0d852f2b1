"""Compile a seccomp profile of the runtime specification with libseccomp: profile.json filter.bpf"""
import ctypes
import json
import os
import sys

lib = ctypes.CDLL("libseccomp.so.2")
lib.seccomp_init.restype = ctypes.c_void_p
lib.seccomp_init.argtypes = [ctypes.c_uint32]
ARCHES = {"SCMP_ARCH_X86_64": 0xC000003E, "SCMP_ARCH_X86": 0x40000003, "SCMP_ARCH_X32": 0x4000003E}
OPS = {"NE": 1, "LT": 2, "LE": 3, "EQ": 4, "GE": 5, "GT": 6, "MASKED_EQ": 7}


class Arg(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def action(name, errno):
    errno = 1 if errno is None else errno
    return {"SCMP_ACT_ALLOW": 0x7FFF0000, "SCMP_ACT_ERRNO": 0x00050000 | errno}[name]


def main():
    profile = json.load(open(sys.argv[1]))
    default = action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    ctx = ctypes.c_void_p(lib.seccomp_init(default))
    for arch in profile["architectures"]:
        lib.seccomp_arch_add(ctx, ctypes.c_uint32(ARCHES[arch]))
    for call in profile["syscalls"]:
        verdict = action(call["action"], call.get("errnoRet"))
        if verdict == default:
            continue
        args = call.get("args", [])
        array = (Arg * max(1, len(args)))()
        for place, arg in zip(array, args):
            place.arg, place.op = arg["index"], OPS[arg["op"].removeprefix("SCMP_CMP_")]
            place.a, place.b = arg["value"], arg.get("valueTwo", 0)
        for name in call["names"]:
            number = lib.seccomp_syscall_resolve_name(name.encode())
            if number == -1:
                continue
            lib.seccomp_rule_add_array(ctx, ctypes.c_uint32(verdict), number, len(args), array)
    fd = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    sys.exit(0 if lib.seccomp_export_bpf(ctx, fd) == 0 else 1)


main()
