#include "envs/hopper.h"

#include "envs/task.h"

/* The one-legged hopper of Gym's Hopper-v2, written anew in local coordinates.
 *
 * Some numbers look odd on purpose: 0.19999999999999996 is what 1.25 - 1.05 gives in binary. Gym's file
 * states global coordinates and MuJoCo subtracts them; with the differences written out, every field of the
 * compiled model that enters the dynamics has the same bits, and so have rollouts (parity_tests/test_envs.c).
 * The foot's frame lies off its geometry because Gym's does: its "0.13/2" was read as 0.13. */
// clang-format off
static const char xml[] =
    "<mujoco model='hopper'>\n"
    "  <compiler angle='degree' inertiafromgeom='true'/>\n"
    "  <option timestep='0.002' integrator='RK4'/>\n"
    DPPO_MODEL_SIZE
    "  <default>\n"
    "    <geom type='capsule' condim='1' margin='0.001' friction='0.9' solref='0.02 1' solimp='0.8 0.8 0.01'/>\n"
    "    <joint type='hinge' axis='0 -1 0' damping='1' armature='1' limited='true'/>\n"
    "    <motor gear='200' ctrllimited='true' ctrlrange='-1 1'/>\n"
    "    <default class='root'>\n"
    "      <joint damping='0' armature='0' limited='false'/>\n"
    "    </default>\n"
    "  </default>\n"
    "  <worldbody>\n"
    "    <geom name='floor' type='plane' size='20 20 0.125' condim='3' friction='1'/>\n"
    "    <body name='torso' pos='0 0 1.25'>\n"
    "      <joint name='rootx' class='root' type='slide' axis='1 0 0' pos='0 0 -1.25'/>\n"
    "      <joint name='rootz' class='root' type='slide' axis='0 0 1' pos='0 0 -1.25' ref='1.25'/>\n"
    "      <joint name='rooty' class='root' axis='0 1 0'/>\n"
    "      <geom name='torso' size='0.05 0.19999999999999996'/>\n"
    "      <body name='thigh' pos='0 0 -0.19999999999999996'>\n"
    "        <joint name='thigh_joint' range='-150 0'/>\n"
    "        <geom name='thigh' pos='0 0 -0.22500000000000009' size='0.05 0.22500000000000003'/>\n"
    "        <body name='leg' pos='0 0 -0.70000000000000007'>\n"
    "          <joint name='leg_joint' pos='0 0 0.25' range='-150 0'/>\n"
    "          <geom name='leg' size='0.04 0.25'/>\n"
    "          <body name='foot' pos='0.13 0 -0.35'>\n"
    "            <joint name='foot_joint' pos='-0.13 0 0.1' range='-45 45'/>\n"
    "            <geom name='foot' fromto='-0.26 0 0.1 0.13 0 0.1' size='0.06' friction='2'/>\n"
    "          </body>\n"
    "        </body>\n"
    "      </body>\n"
    "    </body>\n"
    "  </worldbody>\n"
    "  <actuator>\n"
    "    <motor joint='thigh_joint'/>\n"
    "    <motor joint='leg_joint'/>\n"
    "    <motor joint='foot_joint'/>\n"
    "  </actuator>\n"
    "</mujoco>\n";
// clang-format on

const char *dppo_hopper_xml(void) {
    return xml;
}
