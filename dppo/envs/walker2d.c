#include "envs/walker2d.h"

#include "envs/task.h"

/* The two-legged walker of Gym's Walker2d-v2, written anew in local coordinates, bit-compatible like hopper.c
 * (the odd digits are explained there). Both legs hang at the same place; only the floor collides. The left
 * foot's friction is 1.9 and the right one's 0.9, as in Gym's versions 2 to 4. */
// clang-format off
static const char xml[] =
    "<mujoco model='walker2d'>\n"
    "  <compiler angle='degree' inertiafromgeom='true'/>\n"
    "  <option timestep='0.002' integrator='RK4'/>\n"
    DPPO_MODEL_SIZE
    "  <default>\n"
    "    <geom type='capsule' conaffinity='0' friction='0.9 0.1 0.1'/>\n"
    "    <joint type='hinge' axis='0 -1 0' damping='0.1' armature='0.01' limited='true'/>\n"
    "    <motor gear='100' ctrllimited='true' ctrlrange='-1 1'/>\n"
    "    <default class='root'>\n"
    "      <joint damping='0' armature='0' limited='false'/>\n"
    "    </default>\n"
    "  </default>\n"
    "  <worldbody>\n"
    "    <geom name='floor' type='plane' size='40 40 40' conaffinity='1' friction='0.7 0.1 0.1'/>\n"
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
    "          <body name='foot' pos='0.2 0 -0.35'>\n"
    "            <joint name='foot_joint' pos='-0.2 0 0.1' range='-45 45'/>\n"
    "            <geom name='foot' fromto='-0.2 0 0.1 0 0 0.1' size='0.06'/>\n"
    "          </body>\n"
    "        </body>\n"
    "      </body>\n"
    "      <body name='thigh_left' pos='0 0 -0.19999999999999996'>\n"
    "        <joint name='thigh_left_joint' range='-150 0'/>\n"
    "        <geom name='thigh_left' pos='0 0 -0.22500000000000009' size='0.05 0.22500000000000003'/>\n"
    "        <body name='leg_left' pos='0 0 -0.70000000000000007'>\n"
    "          <joint name='leg_left_joint' pos='0 0 0.25' range='-150 0'/>\n"
    "          <geom name='leg_left' size='0.04 0.25'/>\n"
    "          <body name='foot_left' pos='0.2 0 -0.35'>\n"
    "            <joint name='foot_left_joint' pos='-0.2 0 0.1' range='-45 45'/>\n"
    "            <geom name='foot_left' fromto='-0.2 0 0.1 0 0 0.1' size='0.06' friction='1.9 0.1 0.1'/>\n"
    "          </body>\n"
    "        </body>\n"
    "      </body>\n"
    "    </body>\n"
    "  </worldbody>\n"
    "  <actuator>\n"
    "    <motor joint='thigh_joint'/>\n"
    "    <motor joint='leg_joint'/>\n"
    "    <motor joint='foot_joint'/>\n"
    "    <motor joint='thigh_left_joint'/>\n"
    "    <motor joint='leg_left_joint'/>\n"
    "    <motor joint='foot_left_joint'/>\n"
    "  </actuator>\n"
    "</mujoco>\n";
// clang-format on

const char *dppo_walker2d_xml(void) {
    return xml;
}
