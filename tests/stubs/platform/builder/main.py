# SPDX-License-Identifier: Apache-2.0
"""SCons script of a platform that builds for this machine."""

from SCons.Script import AlwaysBuild, Default, DefaultEnvironment

env = DefaultEnvironment()
env.Replace(CC="gcc", CXX="g++", LINK="g++", AR="ar", RANLIB="ranlib", PROGSUFFIX="")
env.Append(CFLAGS=["-std=c11"], CXXFLAGS=["-std=c++17"])
program = env.BuildProgram()
AlwaysBuild(env.Alias("buildprog", program))
Default(program)
